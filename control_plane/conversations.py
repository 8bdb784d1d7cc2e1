"""The conversations of users: what titles, cursors and exports look like. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contracts.problems import ProblemError

TITLE_MAX: Final = 200
_FIRST_TITLE_MAX: Final = 80
UNTITLED: Final = "Conversation"
ID_MAX: Final = 256

# White space and whatever steers a terminal or a page rather than being read.
_GAPS: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_UNPRINTABLE: Final = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")

AnswerOutcome = Literal["completed", "failed", "cancelled", "lost"]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in a list. Times are Unix seconds; a title of None cannot be opened
    with the keys that are here."""

    id: str
    title: str | None
    created_at: float
    updated_at: float


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one side said. `created_at` is when the job was accepted.

    `model`, `outcome` and `code` are of answers: an outcome of `lost` says that the answer
    ended but its text could not be kept. A text of None cannot be opened any more.
    """

    role: str
    text: str | None
    job_id: str
    created_at: float
    model: str | None = None
    outcome: str | None = None
    code: str | None = None


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in a list that is sorted by time: the entry it names is not part of what follows."""

    at: Annotated[float, Meta(ge=0, le=1e12)]
    key: Annotated[str, Meta(max_length=ID_MAX)] | Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]


def cursor(position: Position) -> str:
    """A position as clients carry it, who need not understand it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(given: str | None, key: type[str] | type[int]) -> Position | None:
    """The position in a cursor of ours. Raises ProblemError `invalid_request`."""
    if given is None:
        return None
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), altchars="-_", validate=True)
        found = msgspec.json.decode(raw, type=Position)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        found = None
    if (
        found is None
        or not isinstance(found.key, key)
        or (isinstance(found.key, str) and not is_conversation_id(found.key))
    ):
        raise ProblemError("invalid_request", "This is no cursor of ours.", field="before")
    return found


def is_conversation_id(given: str) -> bool:
    """Can a conversation have this id, and be asked for by it?"""
    return 0 < len(given) <= ID_MAX and given not in (".", "..") and not _UNPRINTABLE.search(given)


def id_hash(conversation_id: str) -> str:
    """What is kept of the id of a conversation that was deleted."""
    return hashlib.sha256(conversation_id.encode("utf-8", "surrogatepass")).hexdigest()


def first_title(text: str) -> str:
    """A title out of the first question: its beginning, cut at a word."""
    line = one_line(text)
    if len(line) <= _FIRST_TITLE_MAX:
        return line or UNTITLED
    cut = line[: _FIRST_TITLE_MAX - 1]
    whole_words = cut.rpartition(" ")[0]
    return (whole_words or cut) + "…"


def chosen_title(given: str) -> str:
    """A title that a person gave. Raises ProblemError `invalid_request`."""
    title = one_line(given)
    if not 0 < len(title) <= TITLE_MAX:
        raise ProblemError(
            "invalid_request", f"A title has 1 to {TITLE_MAX} characters.", field="title"
        )
    return title


def one_line(text: str) -> str:
    """The text in one line, without what is not meant to be read."""
    return _GAPS.sub(" ", text).strip()


def markdown_head(summary: Summary) -> str:
    """How an export as Markdown begins."""
    return f"# {summary.title or UNTITLED}\n\n{_day(summary.created_at)}\n"


def markdown_message(message: Message) -> str:
    """One message in an export as Markdown: the text stands as it was said."""
    speaker = "You" if message.role == "user" else message.model or "Answer"
    text = "*(cannot be opened)*" if message.text is None else message.text
    mark = _MARKS.get(message.outcome or "", "")
    return f"\n## {speaker}\n\n{text}\n{mark}"


_MARKS: Final = {
    "failed": "\n*(this answer failed)*\n",
    "cancelled": "\n*(this answer was stopped)*\n",
    "lost": "\n*(the text of this answer was not kept)*\n",
}


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
