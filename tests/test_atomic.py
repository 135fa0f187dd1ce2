"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from podium.atomic import atomic_write


def test_file_is_replaced(tmp_path):
    path = tmp_path / "folder" / "file"
    for content in (b"first", b"second"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"new", None])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="only POSIX has file modes")
def test_file_has_the_mode_of_any_new_file(tmp_path):
    """Other users may read runs and calibrations. A file of tempfile would be readable only by its owner."""
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "plain")]
    assert modes[0] == modes[1]
