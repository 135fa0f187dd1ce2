"""Stores in memory, stores in front of others, and the argument `keep`."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.encodings import KeyMaker
from podium.encodings.folder import FolderEncodings
from podium.encodings.keep import store_for
from podium.encodings.layered import LayeredEncodings, ReadOnlyEncodings
from podium.encodings.memory import ENTRY_BYTES, MemoryEncodings
from podium.errors import InvalidInput


def test_keys_differ_by_identity_and_text():
    texts = ["", "a", "b", "ab", "?", "\ud800"]
    keys = [KeyMaker(identity).key(text) for identity in ("m1", "m2", "") for text in texts]
    assert len({*keys}) == len(keys)
    assert {len(key) for key in keys} == {16}
    assert KeyMaker("m1").keys(texts) == keys[:6]
    assert KeyMaker("a").key("bc") != KeyMaker("ab").key("c")


def test_memory_drops_the_least_recently_used_encoding():
    store = MemoryEncodings(3 * (100 + ENTRY_BYTES))
    for key in (b"1", b"2", b"3"):
        store.put({key: bytes(100)})
    store.get([b"1"])
    store.put({b"4": bytes(100)})
    assert {*store.get([b"1", b"2", b"3", b"4"])} == {b"1", b"3", b"4"}
    store.put({b"1": bytes(100)})
    store.put({b"5": bytes(100)})
    assert {*store.get([b"1", b"3", b"4", b"5"])} == {b"1", b"4", b"5"}
    store.close()
    assert store.get([b"1"]) == {}


@pytest.mark.parametrize("max_bytes", [0, 99], ids=["no memory", "less than one"])
def test_memory_does_not_store_an_encoding_beyond_its_limit(max_bytes):
    store = MemoryEncodings(max_bytes)
    store.put({b"1": bytes(100)})
    assert store.get([b"1"]) == {}


class InterruptedEncoding(bytes):
    """An encoding whose size cannot be computed for the second time, because an interrupt comes then."""

    size_count = 0

    def __len__(self):
        self.size_count += 1
        if self.size_count == 2:
            raise KeyboardInterrupt
        return super().__len__()


def test_interrupt_while_an_encoding_is_dropped_does_not_stop_later_calls():
    """A fork in another thread can have the same effect on the new process."""
    store = MemoryEncodings(0)
    with pytest.raises(KeyboardInterrupt):
        store.put({b"a": InterruptedEncoding(b"encoding")})
    store.put({b"b": b"encoding"})
    assert store.get([b"a", b"b"]) == {}


def test_layers_are_read_in_order_and_written_together():
    front, back = MemoryEncodings(10_000), MemoryEncodings(10_000)
    store = LayeredEncodings(front, back)
    back.put({b"1": b"one"})
    front.put({b"2": b"two"})
    assert store.get([b"1", b"2", b"3"]) == {b"1": b"one", b"2": b"two"}
    assert front.get([b"1"]) == {b"1": b"one"}
    store.put({b"3": b"three"})
    assert front.get([b"3"]) == back.get([b"3"]) == {b"3": b"three"}


def test_encodings_of_a_folder_are_not_copied_to_memory(tmp_path):
    front, back = MemoryEncodings(10_000), FolderEncodings(tmp_path)
    back.put({bytes(16): b"one"})
    assert LayeredEncodings(front, back).get([bytes(16)]) == {bytes(16): b"one"}
    assert front.get([bytes(16)]) == {}


def test_read_only_store_is_not_written():
    store = MemoryEncodings(10_000)
    reader = ReadOnlyEncodings(store)
    reader.put({b"1": b"one"})
    assert reader.get([b"1"]) == {}
    store.put({b"1": b"one"})
    reader.close()
    assert reader.get([b"1"]) == {b"1": b"one"}


@pytest.mark.parametrize("path_type", [str, Path], ids=["str", "Path"])
def test_keep_can_be_a_folder(tmp_path, path_type):
    store = store_for(path_type(tmp_path / "new" / "folder"))
    store.put({bytes(16): b"one"})
    assert FolderEncodings(tmp_path / "new" / "folder").get([bytes(16)]) == {bytes(16): b"one"}


def test_keep_can_be_a_number_of_bytes():
    for keep, stored_count in ((0, 0), (10_000, 1), ("0", 0), ("10000", 1)):
        store = store_for(keep)
        store.put({bytes(16): b"one"})
        assert len(store.get([bytes(16)])) == stored_count


@pytest.mark.parametrize(
    "keep",
    [
        *(pytest.param(keep, id=repr(keep)) for keep in (-1, 1.5, True, None, "", " ", ["folder"])),
        pytest.param("9" * 5000, id="long number"),
        pytest.param("\N{ARABIC-INDIC DIGIT THREE}", id="digit of another script"),
    ],
)
def test_invalid_keep_is_refused(keep):
    with pytest.raises(InvalidInput, match="keep must be a number of bytes of memory"):
        store_for(keep)


@pytest.mark.parametrize("keep", ["yes", "No", "TRUE", "false", "on", "off", "none"])
def test_switch_is_not_the_name_of_a_folder(keep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=rf"keep='?{keep}'? is not .*use 0 to keep nothing, or \./{keep} for a folder"):
        store_for(keep)
    store_for(f"./{keep}").put({bytes(16): b"one"})
    assert [path.name for path in tmp_path.iterdir()] == [keep]


def test_url_of_another_server_is_refused_without_its_password():
    with pytest.raises(InvalidInput, match="can be a folder, or the URL of a Redis") as error:
        store_for("http://user:secret@host")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("keep", ["a" * 300, "a\0"], ids=["long name", "null character"])
def test_invalid_path_is_refused(keep):
    with pytest.raises(InvalidInput, match="is not a valid path"):
        store_for(keep)


def test_keep_cannot_be_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is a file; name a folder"):
        store_for(tmp_path / "file")
