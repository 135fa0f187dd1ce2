// The hash table of pieces, and the search for the best path through a word.

#include "unigram.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace podium {
namespace {

constexpr double UNKNOWN_PENALTY = 10.0;     // how much lower the score of an unknown character is than the lowest score
constexpr std::size_t MAX_PIECE_BYTES = 256;  // at every character, all pieces of up to the longest one's length are looked up
constexpr std::size_t MAX_PROBES = 1 << 10;  // pieces that need more were chosen to have equal hashes

constexpr std::uint64_t FIRST_HASH = 0xcbf29ce484222325u;  // FNV-1a, whose bits are mixed once more before they are used

std::uint64_t next_hash(std::uint64_t hash, char byte) {
    return (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3u;
}

std::uint64_t mixed(std::uint64_t hash) { return (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15u; }

bool continues_character(char byte) { return (static_cast<std::uint8_t>(byte) & 0xc0) == 0x80; }

std::size_t character_end(std::string_view text, std::size_t start) {
    std::size_t end = start + 1;
    while (end < text.size() && continues_character(text[end])) ++end;
    return end;
}

std::int32_t character_count(std::string_view text) {
    return static_cast<std::int32_t>(text.size() - std::count_if(text.begin(), text.end(), continues_character));
}

}  // namespace

Unigram::Unigram(const char* bytes, std::size_t size, const std::uint32_t* ends, const float* scores, std::size_t count,
                 std::int32_t unknown_id)
    : bytes_(bytes), ends_(ends), scores_(scores), unknown_id_(unknown_id) {
    if (!count || count > std::numeric_limits<std::int32_t>::max() / 2 || ends[count - 1] != size)
        throw std::invalid_argument("the pieces must end where their bytes end");
    if (unknown_id < 0 || static_cast<std::size_t>(unknown_id) >= count)
        throw std::invalid_argument("the unknown id must be that of a piece");
    int bits = 1;
    while ((std::size_t{1} << bits) < 2 * count) ++bits;
    shift_ = 64 - bits;
    slots_.assign(std::size_t{1} << bits, Slot{0, -1});
    float lowest = std::numeric_limits<float>::infinity();
    for (std::size_t id = 0; id < count; ++id) {
        const std::size_t begin = id ? ends[id - 1] : 0;
        if (begin >= ends[id] || ends[id] > size || continues_character(bytes[begin]))
            throw std::invalid_argument("piece " + std::to_string(id) + " is empty or incomplete");
        if (ends[id] - begin > MAX_PIECE_BYTES)
            throw std::invalid_argument("piece " + std::to_string(id) + " is longer than " + std::to_string(MAX_PIECE_BYTES) + " bytes");
        std::uint64_t hash = FIRST_HASH;
        for (char byte : piece(id)) hash = next_hash(hash, byte);
        hash = mixed(hash);
        std::size_t index = hash >> shift_, probes = 0;
        for (; slots_[index].id >= 0; index = (index + 1) & (slots_.size() - 1)) {
            const bool is_equal = piece(static_cast<std::size_t>(slots_[index].id)) == piece(id);
            if (is_equal || ++probes > MAX_PROBES)
                throw std::invalid_argument("piece " + std::to_string(id) + (is_equal ? " is a duplicate" : " has a bad hash"));
        }
        slots_[index] = {static_cast<std::uint32_t>(hash), static_cast<std::int32_t>(id)};
        longest_ = std::max(longest_, ends[id] - begin);
        lowest = std::min(lowest, scores[id]);
    }
    unknown_score_ = static_cast<double>(lowest) - UNKNOWN_PENALTY;
}

std::string_view Unigram::piece(std::size_t id) const {
    const std::size_t begin = id ? ends_[id - 1] : 0;
    return {bytes_ + begin, ends_[id] - begin};
}

std::int32_t Unigram::find(std::uint64_t hash, std::string_view text) const {
    hash = mixed(hash);
    for (std::size_t index = hash >> shift_; slots_[index].id >= 0; index = (index + 1) & (slots_.size() - 1))
        if (slots_[index].tag == static_cast<std::uint32_t>(hash) && piece(static_cast<std::size_t>(slots_[index].id)) == text)
            return slots_[index].id;
    return -1;
}

std::int32_t Unigram::find(std::string_view text) const {
    std::uint64_t hash = FIRST_HASH;
    for (char byte : text) hash = next_hash(hash, byte);
    return find(hash, text);
}

void Unigram::split(std::string_view word, std::vector<Path>& paths, Pieces& pieces) const {
    paths.assign(word.size() + 1, Path{});
    const auto offer = [&paths](std::size_t start, std::size_t end, std::int32_t id, double score) {
        const double total = score + paths[start].score;
        if (paths[end].id < 0 || total > paths[end].score) paths[end] = {total, start, id};
    };
    for (std::size_t start = 0; start < word.size();) {
        const std::size_t first_end = character_end(word, start), longest_end = std::min(word.size(), start + longest_);
        bool is_known = false;  // whether the first character is a piece
        std::uint64_t hash = FIRST_HASH;
        for (std::size_t end = start; end < longest_end;) {
            const std::size_t next_end = character_end(word, end);
            for (; end < next_end; ++end) hash = next_hash(hash, word[end]);
            const std::int32_t id = find(hash, word.substr(start, end - start));
            if (id < 0) continue;
            offer(start, end, id, static_cast<double>(scores_[id]));
            is_known = is_known || end == first_end;
        }
        if (!is_known) offer(start, first_end, unknown_id_, unknown_score_);
        start = first_end;
    }
    // The path is followed from its end, so its pieces are reversed afterwards.
    const std::size_t first = pieces.ids.size();
    for (std::size_t end = word.size(); end > 0;) {
        std::size_t start = paths[end].start;
        std::int32_t id = paths[end].id;
        if (id == unknown_id_) {
            while (start > 0 && paths[start].id == unknown_id_) start = paths[start].start;
            const std::int32_t known_id = find(word.substr(start, end - start));
            id = known_id < 0 ? unknown_id_ : known_id;
        }
        pieces.ids.push_back(id);
        pieces.lengths.push_back(character_count(word.substr(start, end - start)));
        end = start;
    }
    std::reverse(pieces.ids.begin() + static_cast<std::ptrdiff_t>(first), pieces.ids.end());
    std::reverse(pieces.lengths.begin() + static_cast<std::ptrdiff_t>(first), pieces.lengths.end());
}

}  // namespace podium
