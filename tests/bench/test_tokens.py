"""The check that a stream is whole sees each fault, however the stream is cut."""

from __future__ import annotations

import pytest

from bench.tokens import TokenCheck, write_token

DONE = b"data: [DONE]\n\n"


def stream(*numbers: int, end: int = 5, of: int = 7) -> bytes:
    """Events of these tokens; the one numbered `end` is the last of the stream."""
    tokens = (write_token(of, number, 1000 + number, number == end) for number in numbers)
    return b"".join(b'data: {"content":"%b"}\n\n' % token for token in tokens) + DONE


def checked(body: bytes, size: int = 1 << 20) -> TokenCheck:
    check = TokenCheck(7)
    for at in range(0, len(body), size):
        check.feed(body[at : at + size])
    return check


def faults(check: TokenCheck) -> dict[str, int]:
    names = ("lost", "repeated", "swapped", "foreign")
    return {name: getattr(check, name) for name in names if getattr(check, name)}


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 20])
def test_a_whole_stream_has_no_fault_however_it_is_cut(size: int) -> None:
    check = checked(stream(1, 2, 3, 4, 5), size)
    assert faults(check) == {}
    assert check.count == 5
    assert check.done


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 2, 4, 5), {"lost": 1}),
        ((2, 3, 4, 5), {"lost": 1}),
        ((1, 5), {"lost": 3}),
        ((1, 2, 3, 4), {"lost": 1}),
        ((1, 2, 2, 3, 4, 5), {"repeated": 1}),
        ((1, 3, 2, 4, 5), {"swapped": 1}),
        ((1, 3, 2, 2, 4, 5), {"swapped": 1, "repeated": 1}),
    ],
)
def test_a_doctored_stream_is_seen(numbers: tuple[int, ...], expected: dict[str, int]) -> None:
    assert faults(checked(stream(*numbers))) == expected


def test_a_token_of_another_stream_is_seen() -> None:
    alien = write_token(8, 1, 0, last=False)
    assert faults(checked(alien + stream(1, 2, 3, 4, 5))) == {"foreign": 1}


def test_the_times_are_those_of_the_tokens_that_are_complete() -> None:
    check, body = TokenCheck(7), stream(1, 2, end=2)
    half = body.index(b"@", 60) + 2
    assert check.feed(body[:half]) == [1001]
    assert check.feed(body[half:]) == [1002]


def test_a_stream_without_its_end_is_not_done() -> None:
    body = stream(1, 2, 3, 4, 5).removesuffix(DONE)
    assert not checked(body).done
