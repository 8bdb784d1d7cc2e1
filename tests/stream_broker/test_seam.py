from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.engines.deltas import Delta, Finish, Text
from stream_broker.seam import Seam, cut

spaces = st.text("\n\t ", max_size=6)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not text[0].isspace()
)


def joined(tail: str, pieces: list[str]) -> str:
    seam = Seam(tail)
    kept = [d for piece in pieces for d in seam.take([Text(piece)])]
    assert all(isinstance(d, Text) and d.text for d in kept)
    return "".join(d.text for d in kept if isinstance(d, Text))


@pytest.mark.parametrize(
    ("text", "trims", "prefix", "tail"),
    [
        ("", False, "", ""),
        ("a b", True, "a b", ""),
        ("a b \n", False, "a b \n", ""),
        ("a b \n", True, "a b \n", " \n"),
        ("\n\n", False, "", "\n\n"),
        ("a \ufffd", True, "a ", " "),
        ("a\ufffd\ufffd", False, "a", ""),
        ("naïve 🦊", True, "naïve 🦊", ""),
        ("a\ufffdb", False, "a\ufffdb", ""),
    ],
)
def test_a_text_is_continued_from_its_last_whole_character(
    text: str, trims: bool, prefix: str, tail: str
) -> None:
    assert cut(text, trims=trims) == (prefix, tail)


@given(spaces, words, st.lists(st.integers(0, 12), max_size=4))
def test_white_space_said_again_is_left_out_however_it_comes(
    tail: str, word: str, places: list[int]
) -> None:
    said = tail + word
    edges = [0, *sorted(min(place, len(said)) for place in places), len(said)]
    pieces = [said[a:b] for a, b in pairwise(edges) if b > a]
    assert joined(tail, pieces) == word


@given(spaces, words)
def test_an_engine_that_was_given_the_white_space_is_taken_at_its_word(
    tail: str, word: str
) -> None:
    assert joined(tail, [word]) == word


def test_other_white_space_is_the_engines_own() -> None:
    assert joined("\n", [" a"]) == " a"
    assert joined("\n", ["\n\n", "a"]) == "\na"
    assert joined(" ", [" a", " b"]) == "a b"


def test_what_is_no_text_passes() -> None:
    said: list[Delta] = [Text("\n"), Finish("stop")]
    assert Seam("\n").take(said) == [Finish("stop")]
