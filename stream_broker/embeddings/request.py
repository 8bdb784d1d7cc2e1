"""What a client asks for (the OpenAI API's embeddings), checked. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from contracts.problems import ProblemError
from stream_broker.bodies import Name
from stream_broker.requests import check

# The OpenAI API's own bound.
INPUTS_MAX: Final = 2048
TOKENS_MAX: Final = 8192

Token = Annotated[int, Meta(ge=0, lt=1 << 31)]
Tokens = Annotated[list[Token], Meta(min_length=1, max_length=TOKENS_MAX)]
Item = str | list[int]
Encoding = Literal["float", "base64"]


class EmbeddingBody(msgspec.Struct):
    """Body of `POST /v1/embeddings`. `input` is looked at by itself: it has four shapes."""

    model: Name
    input: Any
    encoding_format: Encoding | None = "float"
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    user: str | None = None


class _Texts(msgspec.Struct):
    input: Annotated[list[str], Meta(min_length=1, max_length=INPUTS_MAX)]


class _TokenLists(msgspec.Struct):
    input: Annotated[list[Tokens], Meta(min_length=1, max_length=INPUTS_MAX)]


class EmbeddingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the one form that is acted on: all items are texts, or all token lists."""

    model: str
    items: list[Item]
    encoding: Encoding = "float"
    dimensions: int | None = None

    @property
    def tokens_estimate(self) -> int:
        """A rough count: a token for every four bytes of text."""
        return sum(size_of(item) // 4 + 1 for item in self.items)


def size_of(item: Item) -> int:
    """Bytes of text, or four for each token."""
    return len(item.encode()) if isinstance(item, str) else 4 * len(item)


def embedding_spec(body: dict[str, Any]) -> EmbeddingSpec:
    """The spec of a request's body. Raises ProblemError `invalid_request`."""
    asked = check(body, EmbeddingBody)
    return EmbeddingSpec(
        model=asked.model,
        items=_items(asked.input),
        encoding=asked.encoding_format or "float",
        dimensions=asked.dimensions,
    )


def _items(given: Any) -> list[Item]:
    """A text, texts, one list of tokens, or several."""
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(given, str) or isinstance(first, int):
        given = [given]
    if isinstance(given, list) and isinstance(first, int | list):
        return list(check({"input": given}, _TokenLists).input)
    texts = check({"input": given}, _Texts).input
    for place, text in enumerate(texts):
        if not text:
            raise ProblemError(
                "invalid_request", "An empty text has no embedding", field=f"input[{place}]"
            )
    return list(texts)
