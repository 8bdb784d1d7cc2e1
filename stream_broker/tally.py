"""What one job has used: its engines' counts where they give them, its chunks where not.

Pure. An answer has one part for each engine that worked on it, one after the other, and for
each round of tool calls. An engine that goes on behind a text counts that text as prompt, so
the job's prompt is the first part's, and its completion is the sum of the parts'. What tools
have answered is prompt of later parts only: nobody is charged for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contracts.grants import Usage

# Tells the running count of the engine that works now; None while it has told none.
Running = Callable[[], Usage | None]


def _untold() -> Usage | None:
    return None


class Tally:
    """The tokens of one job. `prompt_estimate` stands in where no engine counted the prompt.

    `chunks` of text so far: one is about a token, more where an engine merges them.
    """

    __slots__ = (
        "_before",
        "_chunks_before",
        "_closed",
        "_exact",
        "_first",
        "_prompt_estimate",
        "_running",
        "chunks",
    )

    def __init__(self, prompt_estimate: int) -> None:
        self.chunks = 0
        self._prompt_estimate = prompt_estimate
        self._running: Running = _untold
        self._before = 0
        self._chunks_before = 0
        self._exact = True
        self._first: Usage | None = None
        self._closed: dict[str, Any] | None = None

    def count_by(self, running: Running) -> None:
        """From now on this engine works on the answer, and counts."""
        self._running = running

    def next_part(self, final: Usage | None = None) -> None:
        """The engine is done with its part, ended or not; another one goes on. `final` is its
        count of a part that it has ended."""
        counted, here = final or self._running(), self.chunks - self._chunks_before
        if counted is not None:
            self._first = self._first_of(counted)
            self._before += counted.completion_tokens
        elif here:
            # Its chunks are all that is known of it.
            self._exact = False
            self._before += here
        self._chunks_before = self.chunks
        self._running = _untold

    def next_round(self, final: Usage | None) -> None:
        """A round of tool calls ends the engine's part. Later prompts have the tools' answers
        in them, so that nothing can be learnt of the first from those."""
        self.next_part(final)
        if self._first is None:
            self._exact = False
            self._first = Usage(prompt_tokens=self._prompt_estimate)

    @property
    def produced(self) -> int:
        """Tokens of the answer so far, as well as is known."""
        counted, here = self._running(), self.chunks - self._chunks_before
        return self._before + (here if counted is None else max(here, counted.completion_tokens))

    def reaches(self, limit: int, final: Usage | None) -> bool:
        """Did an engine that ended for length end at `limit` tokens of the answer?

        One that never counts is believed: it says that it has stopped for a length.
        """
        if final is not None:
            return self._before + final.completion_tokens >= limit
        return self._running() is None or self.produced >= limit

    def close(self, final: Usage | None) -> dict[str, Any]:
        """The job's usage for good. `final`: the last engine's count of its whole part."""
        if self._closed is None:
            self._closed = self._members(final or self._running())
            # What counts may hold on to what was read last.
            self._running = _untold
        return self._closed

    def _members(self, counted: Usage | None) -> dict[str, Any]:
        here = self.chunks - self._chunks_before
        first = self._first if counted is None else self._first_of(counted)
        exact = self._exact and first is not None and (counted is not None or not here)
        members: dict[str, Any] = {
            "prompt_tokens": self._prompt_estimate if first is None else first.prompt_tokens,
            "completion_tokens": self._before
            + (here if counted is None else counted.completion_tokens),
            "cached_tokens": 0 if first is None else first.cached_tokens,
        }
        if not exact or (counted is not None and counted.estimated):
            members["estimated"] = True
        return members

    def _first_of(self, counted: Usage) -> Usage:
        """What the first part's engine said of the prompt.

        Where it died with its count, a later engine's is taken, less the text before.
        """
        if self._first is not None:
            return self._first
        prompt = max(0, counted.prompt_tokens - self._before)
        return Usage(prompt_tokens=prompt, cached_tokens=min(counted.cached_tokens, prompt))
