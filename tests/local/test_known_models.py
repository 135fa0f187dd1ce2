"""The licence that a model's card declares."""

from __future__ import annotations

import os

import pytest

from podium.local.known_models import licence_of

CARDS = {
    "plain": ("---\nlicense: mit\n---\n", "mit"),
    "quoted": ('---\ntags: [a]\nlicense: "apache-2.0" \n---\ntext', "apache-2.0"),
    "named": ("---\r\nlicense: other\r\nlicense_name: gemma\r\n---\r\n", "gemma"),
    "colon": ("---\nlicense: a: b\n---", "a: b"),
    "empty": ("---\nlicense:\n---\n", None),
    "none": ("# A model\nlicense: mit\n", None),
    "no-end": ("---\nlicense: mit\n", None),
    "many-lines": ("---" + "\n" * 200_000 + "license: mit\n---\n", "mit"),
    "many-spaces": ("---\nlicense: a" + " " * 200_000 + "x\n---\n", "a" + " " * 200_000 + "x"),
    "after-a-megabyte": ("---\n" + "x" * (1 << 20) + "\nlicense: mit\n---\n", None),
}


@pytest.mark.parametrize(("card", "licence"), CARDS.values(), ids=CARDS)
def test_licence_is_that_of_the_front_matter(tmp_path, card, licence):
    (tmp_path / "README.md").write_text(card, newline="")
    assert licence_of(tmp_path) == licence


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "folder", "device"]
)
def test_other_files_have_no_licence(tmp_path, make):
    make(tmp_path / "README.md")
    assert licence_of(tmp_path) is None


def test_missing_card_has_no_licence(tmp_path):
    assert licence_of(tmp_path) is None
