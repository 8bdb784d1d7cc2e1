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
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stream_broker.engines.openai_chunk import decode_chunk

decode_string: Final = msgspec.json.Decoder(str).decode

Template = tuple[bytes, bytes]

# Fits nothing: 0xff is in no UTF-8 and in no field name of an event.
NO_TEMPLATE: Final[Template] = (b"\xff", b"\xff")

_CONTENT: Final = re.compile(rb'"content": ?("(?:[^"\\]|\\.)*")')


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
    return head + b'"', b'"' + tail
