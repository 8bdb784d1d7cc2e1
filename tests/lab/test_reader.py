"""What a client has read of a stream, and whose the gaps in it are."""

from __future__ import annotations

import json

from lab.reader import Stream


def block(seq: int, name: str = "token", **data: object) -> list[str]:
    return [f"id: {seq}", f"event: {name}", f"data: {json.dumps(data)}"]


def read(*events: tuple[float, list[str]]) -> Stream:
    stream = Stream("n04w0-1")
    for at, lines in events:
        stream.take(at, lines)
    return stream


def test_what_comes_twice_is_counted_and_not_read_twice() -> None:
    stream = read((1, block(1, token="a")), (2, block(1, token="a")), (3, block(2, token="b")))

    assert (stream.text, stream.repeated, stream.cursor) == ("ab", 1, 2)
    assert stream.summary("ab")["same_text"] is True
    assert stream.summary("ab!")["same_text"] is False


def test_what_never_comes_is_lost() -> None:
    stream = read((1, block(1, token="a")), (2, block(4, token="b")))
    assert stream.summary("ab")["lost"] == 2


def test_words_that_the_engine_repeats_or_skips_are_seen_in_the_text() -> None:
    words = ["w1@1000 ", "w3@1025 ", "w3@1050 "]
    stream = read(*((n, block(n, token=word)) for n, word in enumerate(words, 1)))
    assert stream.summary("")["skipped"] == 1
    assert read((1, block(1, token="any text"))).summary("")["skipped"] == 0


def test_a_gap_says_how_long_engine_and_broker_were_silent() -> None:
    stream = read(
        (10.0, block(1, token="w1@5000 ", ts=5.001)),
        (10.05, block(2, token="w2@5025 ", ts=5.026)),
        (10.75, block(3, token="w3@5050 ", ts=5.626)),
    )
    (gap,) = stream.summary("")["gaps"]  # type: ignore[misc]
    assert gap == {"at": 10.05, "length": 0.7, "engine": 0.025, "broker": 0.6}


def test_the_end_and_what_it_was_for() -> None:
    assert read((1, block(1, "job_error", code="engine_stalled"))).end == "job_error engine_stalled"
    assert read((1, block(1, "job_complete", finish_reason="length"))).end == "job_complete length"
    assert read((1, block(1, "notice", code="relay_moved"))).notices == ["relay_moved"]
