"""Damaged indexes in folders raise SourceError, even if tantivy panics or would return wrong results."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import podium
from capitals import CAPITALS, IDS, index_of_capitals, source_keys
from fakes import Letters
from podium.errors import SourceError
from podium.sources.embedded.description import DESCRIPTION_FILE
from podium.sources.embedded.segment_files import MAGIC

DOCUMENTS = [{"text": f"apples and pears number {number}", "year": number} for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = podium.EmbeddedIndex.create(tmp_path / "index")
    index.add(DOCUMENTS, ids=[f"d{number}" for number in range(40)])
    index.delete(["d3"])
    return tmp_path / "index"


@pytest.mark.parametrize("operation", ["delete", "replace"])
def test_writer_continues_after_one_that_was_killed_before_its_commit(folder, operation):
    """The killed writer left a file of deleted documents. The next writer would give its own file the same name."""

    def write():
        index = podium.EmbeddedIndex.open(folder)
        if operation == "delete":
            index.delete(["d1"])
        else:
            index.add([{"text": "apples"}], ids=["d1"])
        return len(index)

    before = {path: path.read_bytes() for path in (folder / "text").iterdir()}
    expected = write()
    for path, content in before.items():  # the state before the commit, but with the new files
        path.write_bytes(content)
    assert len(podium.EmbeddedIndex.open(folder)) == 39
    assert write() == expected


def test_named_pipe_is_an_error(folder, tmp_path):
    """Opening a named pipe would wait until another process writes to it."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(names) > 5
    for number, name in enumerate(names):
        damaged = tmp_path / str(number)
        shutil.copytree(folder, damaged)
        (damaged / name).unlink()
        os.mkfifo(damaged / name)
        with pytest.raises(SourceError):
            podium.EmbeddedIndex.open(damaged).search("apples")


DAMAGE = """
import random, shutil, sys
from pathlib import Path
import podium

intact, folder = Path(sys.argv[1]), Path(sys.argv[2])
draw = random.Random(5)
refused_count = 0
for name in sorted(path.relative_to(intact) for path in intact.rglob("*") if path.is_file()):
    for attempt in range(8):
        # Each attempt has its own folder, because threads of tantivy can still be writing to the previous one.
        damaged = folder / f"{name.as_posix().replace('/', '-')}-{attempt}"
        shutil.copytree(intact, damaged)
        content = bytearray((intact / name).read_bytes())
        if attempt < 6 and content:
            for _ in range(draw.randint(1, 8)):
                content[draw.randrange(len(content))] = draw.randrange(256)
        else:
            content = content[: draw.randint(0, len(content))]
        (damaged / name).write_bytes(content)
        try:
            index = podium.EmbeddedIndex.open(damaged)
            index.search("apples 7", 20), len(index), index.get(["d5"])
            index.add(["new"], ids=["d5"])
            index.search("new", 20)
        except podium.SourceError:
            refused_count += 1
print(refused_count)
"""


def test_damaged_file_is_a_source_error(folder, tmp_path):
    """The script runs in another process, because tantivy prints errors."""
    script = [sys.executable, "-c", DAMAGE, str(folder), str(tmp_path / "damaged")]
    process = subprocess.run(script, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout) > 10


def flip_bit(file: Path, position: str) -> None:
    """Flip a bit in the content of a segment file. The length of the footer that follows is eight bytes before the end."""
    content = bytearray(file.read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[{"first": 0, "middle": end // 2, "last": end - 1}[position]] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("ending", [".store", ".idx", ".term", ".pos", ".fieldnorm", ".fast", ".del"])
@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_flipped_bit_of_a_segment_file_is_a_source_error(folder, ending, position):
    """Without checksums, some of these bits would end the process, and others would change results."""
    flip_bit(next((folder / "text").glob(f"*{ending}")), position)
    with pytest.raises(SourceError, match=rf"{ending} is damaged: its checksum does not match; index the documents again"):
        podium.EmbeddedIndex.open(folder)


def test_segment_that_is_damaged_when_it_is_added_is_a_source_error(folder):
    """An open index also checks the checksums of files that are added later."""
    reader = podium.EmbeddedIndex.open(folder)
    podium.EmbeddedIndex.open(folder).add(["plums"])
    newest = max((folder / "text").glob("*.store"), key=lambda path: path.stat().st_mtime_ns)
    flip_bit(newest, "middle")
    with pytest.raises(SourceError, match="its checksum does not match"):
        reader.search("plums", 1)


def test_missing_segment_file_is_a_source_error(folder):
    for path in (folder / "text").glob("*.store"):
        path.unlink()
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(folder).search("apples", 1)


@pytest.mark.parametrize("language", ["klingon", "", 5, ["english"]], ids=str)
def test_unknown_language_in_the_description_is_a_source_error(folder, language):
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description | {"language": language}))
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(DESCRIPTION_FILE, "{}", id="empty-object"),
        pytest.param(DESCRIPTION_FILE, '{"fields": 5, "language": null, "probe": []}', id="wrong-fields"),
        pytest.param(DESCRIPTION_FILE, "[]", id="list"),
        pytest.param(DESCRIPTION_FILE, "not json", id="not-json"),
        pytest.param(DESCRIPTION_FILE, "[" * 200_000, id="nested"),
        pytest.param(DESCRIPTION_FILE, f'{{"fields": null, "language": null, "probe": [1{"0" * 400}]}}', id="large-number"),
        pytest.param("text/meta.json", "{", id="meta"),
        pytest.param("text/meta.json", "[" * 200_000, id="nested-meta"),
    ],
)
def test_damaged_json_is_a_source_error(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(folder)


@pytest.mark.parametrize("name", [DESCRIPTION_FILE, "text/meta.json"])
def test_json_file_that_does_not_fit_into_memory_is_a_source_error(folder, name):
    os.truncate(folder / name, 1 << 38)  # a sparse file, which takes no space
    with pytest.raises(SourceError, match="cannot be used"):
        podium.EmbeddedIndex.open(folder)


@pytest.mark.parametrize("footer", ["[" * 9_000, "[" * 200_000, '{"crc":null}', "7"], ids=["nested", "long", "null", "number"])
def test_damaged_footer_of_a_segment_file_is_a_source_error(folder, footer):
    file = next((folder / "text").glob("*.term"))
    file.write_bytes(file.read_bytes() + footer.encode() + struct.pack("<II", len(footer), MAGIC))
    with pytest.raises(SourceError, match="its checksum does not match"):
        podium.EmbeddedIndex.open(folder)


TRUNCATED = """
import os, sys, time
from pathlib import Path
import podium

def other_threads_sleep():
    stats = [(task / "stat").read_text() for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)

index = podium.EmbeddedIndex.open(sys.argv[1])
# Just after an index was opened, a thread of tantivy loads it once more. Truncating a file meanwhile would end the process.
while True:
    try:
        if other_threads_sleep():
            break
    except FileNotFoundError:  # a thread ended between the two calls
        pass
    time.sleep(0.01)
for file in sorted(Path(sys.argv[1], "text").glob("*.*")):
    if file.suffix not in (".json", ".lock"):
        content = file.read_bytes()
        index.search("apples 7", 20)
        os.truncate(file, 0)
        for use in (lambda: index.search("apples 7", 20), lambda: index.get(["d5"]), lambda: len(index)):
            try:
                use()
            except podium.SourceError as error:
                assert f"{file.name} is damaged" in str(error), error
            else:
                raise AssertionError(file)
        file.write_bytes(content)
        print(file.suffix)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the states of threads are read from /proc")
def test_file_that_is_truncated_under_an_open_index_is_a_source_error(folder):
    """The script runs in another process, because reading a truncated file could end the process."""
    process = subprocess.run([sys.executable, "-c", TRUNCATED, str(folder)], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    assert {*process.stdout.split()} >= {".store", ".idx", ".term", ".pos", ".fieldnorm", ".fast", ".del"}


def test_folder_without_a_description_is_not_an_index(folder):
    (folder / DESCRIPTION_FILE).unlink()
    with pytest.raises(SourceError, match="is not an index of podium: it has no"):
        podium.EmbeddedIndex.open(folder)


def test_unknown_layout_is_refused(folder):
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description | {"layout": 99}))
    with pytest.raises(SourceError, match="has layout 99"):
        podium.EmbeddedIndex.open(folder)


def test_index_of_an_earlier_version_without_an_id_can_be_used(folder):
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    del description["id"]
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description))
    index = podium.EmbeddedIndex.open(folder)
    index.add(["plums"], ids=["p"])
    assert source_keys(index.search("plums", 1)) == ["p"]


def test_field_of_a_later_version_in_the_description_is_ignored(folder):
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description | {"colour": "red"}))
    assert len(podium.EmbeddedIndex.open(folder)) == 39


def create_with_vectors(folder: Path) -> Path:
    """Create an index with vectors of DOCUMENTS in a folder, and return the folder."""
    index = podium.EmbeddedIndex.create(folder, embed=Letters())
    index.add(DOCUMENTS[:20])
    index.add(DOCUMENTS[20:])
    return folder


@pytest.mark.parametrize("name", ["vectors.f32", "vectors.checksums"])
@pytest.mark.parametrize("position", [0, 250, -1], ids=["first", "middle", "last"])
def test_damaged_vectors_are_refused(tmp_path, name, position):
    file = create_with_vectors(tmp_path / "index") / name
    content = bytearray(file.read_bytes())
    content[position if abs(position) < len(content) else len(content) // 2] ^= 0x10
    file.write_bytes(content)
    index = podium.EmbeddedIndex.open(tmp_path / "index", embed=Letters())
    with pytest.raises(SourceError, match=f"{name} is damaged: its checksums do not match; index the documents again"):
        index.search("apples", 5)


def test_checksums_that_do_not_fit_into_memory_are_refused(tmp_path):
    folder = create_with_vectors(tmp_path / "index")
    os.truncate(folder / "vectors.checksums", 1 << 38)  # a sparse file, which takes no space
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    with pytest.raises(SourceError, match="its checksums do not match"):
        index.search("apples", 5)


def test_index_with_fewer_vectors_than_documents_is_refused(tmp_path):
    folder = create_with_vectors(tmp_path / "index")
    content = (folder / "vectors.f32").read_bytes()
    (folder / "vectors.f32").write_bytes(content[:-1])
    with pytest.raises(SourceError, match="fewer vectors than documents"):
        podium.EmbeddedIndex.open(folder)
    (folder / "vectors.f32").write_bytes(content)
    podium.EmbeddedIndex.open(folder)


def test_incomplete_rows_of_a_killed_writer_are_ignored(tmp_path):
    """A writer that is killed can leave a part of a row, rows without a checksum, or a part of a checksum's record."""
    folder = create_with_vectors(tmp_path / "index")
    with open(folder / "vectors.f32", "ab") as file:
        file.write(b"\1" * 40)
    with open(folder / "vectors.checksums", "ab") as file:
        file.write(b"\1" * 10)
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    assert len(index.search("apples and pears number 3", 5)) == 5
    index.add(["aaaa"], ids=["new"])
    for reader in (index, podium.EmbeddedIndex.open(folder, embed=Letters())):
        assert source_keys(reader.search("aaaa", 1)) == ["new"]


def test_vectors_without_checksums_are_searched(tmp_path):
    """Earlier versions of podium wrote vectors without checksums."""
    folder = create_with_vectors(tmp_path / "index")
    (folder / "vectors.checksums").unlink()
    index = podium.EmbeddedIndex.open(folder, embed=Letters())
    index.add(["aaaa"], ids=["new"])
    assert source_keys(podium.EmbeddedIndex.open(folder, embed=Letters()).search("aaaa", 1)) == ["new"]


def test_vectors_cut_short_under_an_open_index_are_refused(tmp_path):
    reader = index_of_capitals(tmp_path / "index")
    assert source_keys(reader.search("capital", 1, mode="vector"))
    file = tmp_path / "index" / "vectors.f32"
    content = file.read_bytes()
    file.unlink()  # a file that is mapped must not be truncated in place
    file.write_bytes(content[: len(content) // 3])
    for use in (lambda: reader.search("apple", 1, mode="vector"), lambda: reader.add(["x"])):
        with pytest.raises(SourceError, match="cut short or deleted"):
            use()


def test_open_index_reads_files_that_replace_its_own(tmp_path):
    """Restoring a backup replaces files like this."""
    reader = index_of_capitals(tmp_path / "index")
    assert source_keys(reader.search(CAPITALS[0]["text"], 1, mode="vector")) == ["n"]
    other = podium.EmbeddedIndex.create(tmp_path / "other", embed=Letters())
    other.add(CAPITALS[::-1], ids=IDS[::-1])
    for name in ("text", "vectors.f32", "vectors.checksums"):
        path = tmp_path / "index" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        (tmp_path / "other" / name).rename(path)
    assert source_keys(reader.search(CAPITALS[0]["text"], 1, mode="vector")) == ["n"]
