"""What a request asks of the synthetic engine: said in the text of its last message.

Proxies pass a message on as it is, whereas fields they do not know may be dropped or
refused, so this works through all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

MODEL = "synthetic"


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer: `burst` tokens at once, every `burst / rate` seconds, from `start` on.

    A rate of 0 is as fast as the socket takes them; `tokens` 0 is until the engine is told
    to finish; `hold` 1 is nothing after the first token. `stream` stands in every token.
    """

    stream: int = 0
    rate: float = 0.0
    burst: int = 1
    tokens: int = 0
    start: float = 0.0
    hold: int = 0

    def text(self) -> str:
        """The message that `parse` reads back."""
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


def parse(text: str) -> Ask:
    """The ask in a message; words that are not `name=number` are passed over."""
    kinds = {field.name: type(field.default) for field in fields(Ask)}
    values: dict[str, int | float] = {}
    for word in text.split():
        name, found, value = word.partition("=")
        if found and name in kinds:
            values[name] = float(value) if kinds[name] is float else int(value)
    return Ask(**values)  # type: ignore[arg-type]  # each by the type of its default
