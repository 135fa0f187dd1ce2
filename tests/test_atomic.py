"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import stat
import sys

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


def test_interrupt_after_the_file_has_its_name_is_raised(tmp_path):
    """A profiler raises the interrupt at the moment when os.replace has returned."""

    def profiler(frame, event, function):
        if event == "c_return" and function is os.replace:
            raise KeyboardInterrupt

    sys.setprofile(profiler)
    try:
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "file") as file:
            file.write(b"new")
    finally:
        sys.setprofile(None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_target_of_a_symbolic_link_is_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for content in (b"first", b"second"):
        with atomic_write(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(tmp_path / "pipe") as file:
        file.write(b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.name == "nt", reason="only POSIX has file modes")
def test_file_has_the_mode_of_any_new_file(tmp_path):
    """Other users may read runs and calibrations. A file of tempfile would be readable only by its owner."""
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "plain")]
    assert modes[0] == modes[1]
