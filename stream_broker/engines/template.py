"""The fast path: decoding only the text of a chunk that is otherwise known already.

All content chunks of a stream are equal byte for byte outside of the text: id, model,
`created` and the rest stand still (llama.cpp moves `created` once a second). So one
chunk that was decoded in full teaches a template, head and tail, and while chunks begin
with that head and end with that tail, what stands between is all there is to decode.

Why that equals the full decode: the head ends, and the tail begins, with a quote of the
text. If the bytes from quote to quote decode as one JSON string, the chunk is the learnt
document with another string in the same place. That this place is the text, and that
the rest says nothing, is not guessed from the key but tried out: the learnt chunk with
another text in that place has to decode to just that other text.

Where an engine counts in every chunk (vLLM, `continuous_usage_stats`), the numbers of the
usage move too. There the tail ends with `"usage":`, and behind it everything has to be as
it was learnt but for whole numbers: `counts` says so. The tail is the last of its kind in
the chunk, and a text cannot hold it, for within a JSON string every quote is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from stream_broker.engines.openai_chunk import decode_chunk

decode_string: Final = msgspec.json.Decoder(str).decode

# Does all that follows a place in a chunk have the learnt form?
Counts = Callable[[bytes, int], Any]


class Template(NamedTuple):
    """What stands before and after a text; `counts` where what follows the tail may move, and
    `moving` is what follows it with 0 for each number."""

    head: bytes
    tail: bytes
    counts: Counts | None = None
    moving: bytes | None = None


# Fits nothing: 0xff is in no UTF-8 and in no field name of an event.
NO_TEMPLATE: Final = Template(b"\xff", b"\xff")

_CONTENT: Final = re.compile(rb'"content": ?("(?:[^"\\]|\\.)*")')
_USAGE: Final = b'"usage":'
_NUMBER: Final = re.compile(rb"\d+")
# No more digits than a decoder surely takes. Leading zeros pass, though JSON has none: to
# tell them apart costs as much again, and all that comes of one is a count not taken.
_ANY_NUMBER: Final = rb"\d{1,18}"


def learn(data: bytes, text: str) -> Template | None:
    """The template of a chunk that says `text`; None if the place of it cannot be proven."""
    found = _CONTENT.search(data)
    if found is None:
        return None
    head, tail = data[: found.start(1)], data[found.end(1) :]
    other = text + "?"
    chunk = decode_chunk(head + msgspec.json.encode(other) + tail)
    if chunk is None or chunk.only_text() != other:
        return None
    if chunk.usage is None:
        return Template(head + b'"', b'"' + tail)
    still, usage, moving = tail.rpartition(_USAGE)
    if not usage:
        # The engine counts before it says what it says.
        return None
    moving = _NUMBER.sub(b"0", moving)
    return Template(head + b'"', b'"' + still + usage, _form(moving), moving)


@lru_cache(maxsize=64)
def _form(still: bytes) -> Counts:
    """Fits what equals `still`, whose numbers are all 0, but for its whole numbers."""
    parts = [re.escape(part) for part in still.split(b"0")]
    return re.compile(_ANY_NUMBER.join(parts)).fullmatch
