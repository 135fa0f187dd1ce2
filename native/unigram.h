// The Unigram model of a tokenizer (Kudo 2018, arXiv 1804.10959): it splits a word into the pieces of a vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace podium {

// Pieces that follow each other in a word, each with its number of characters.
struct Pieces {
    std::vector<std::int32_t> ids, lengths;
};

class Unigram {
  public:
    // Piece i has the bytes ends[i - 1] … ends[i] - 1 of `bytes`, in UTF-8, and the score scores[i]. A character that is not a
    // piece has the id `unknown_id`. The arrays are not copied: they must live as long as the model. Throws
    // std::invalid_argument if a piece is empty, incomplete, a duplicate, or longer than 256 bytes.
    Unigram(const char* bytes, std::size_t size, const std::uint32_t* ends, const float* scores, std::size_t count,
            std::int32_t unknown_id);

    // The best path to the end of a prefix of a word.
    struct Path {
        double score = 0.0;
        std::size_t start = 0;  // of the last piece
        std::int32_t id = -1;   // of the last piece; -1: no path yet
    };

    // Appends the pieces of a word, which is valid UTF-8. Consecutive characters without a piece are one piece. `paths` is
    // memory, which can be used again. The result is that of the library tokenizers (models/unigram/model.rs).
    void split(std::string_view word, std::vector<Path>& paths, Pieces& pieces) const;

  private:
    struct Slot {
        std::uint32_t tag;  // some bits of the hash
        std::int32_t id;    // -1: empty
    };

    std::string_view piece(std::size_t id) const;
    std::int32_t find(std::uint64_t hash, std::string_view text) const;
    std::int32_t find(std::string_view text) const;

    const char* bytes_;
    const std::uint32_t* ends_;
    const float* scores_;
    std::int32_t unknown_id_;
    double unknown_score_;
    std::size_t longest_ = 0;  // bytes of the longest piece
    int shift_ = 0;            // the slot of a hash is the hash shifted right by this number of bits
    std::vector<Slot> slots_;  // a hash table with linear probing; its size is a power of two
};

}  // namespace podium
