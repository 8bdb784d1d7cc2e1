"""Conversations as rows: each job once, in order, sealed, and gone when deleted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, func, select, update

from contracts.grants import Said
from control_plane.conversations import Message, Position
from control_plane.sealing import Sealer
from control_plane.store import conversations as reading
from control_plane.store import keeping
from control_plane.store.conversations import Shelf, forget, prune_conversations
from control_plane.store.engines import make_engine
from control_plane.store.keeping import Keeper
from control_plane.store.migrate import migrate
from control_plane.store.schema import conversations, forgotten, messages
from control_plane.store.users import seed
from tests.control_plane.harness import API_KEY, DATA_KEY, NOW, settled

SEALER = Sealer([DATA_KEY])
KEEPER, SHELF = Keeper(SEALER), Shelf(SEALER)


@pytest.fixture
def db(url: URL) -> Iterator[Connection]:
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir()
    engine = make_engine(url, 5.0)
    with engine.begin() as connection:
        migrate(connection, NOW)
        seed(connection, API_KEY, NOW)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def said(number: int, **changes: Any) -> Any:
    """Job `number` of conversation `c`: question and answer."""
    members = {
        "job_id": f"n03w0-{number}",
        "session_id": "c",
        "asked": [Said(role="user", text=f"question {number}")],
        "final_text": f"answer {number}",
        "created_at": NOW + number,
        "ended_at": NOW + number + 0.5,
    }
    return settled(**members | changes)


def keep(db: Connection, *settlements: Any) -> list[bool]:
    return [KEEPER.keep(db, settlement, NOW + 1000) for settlement in settlements]


def all_messages(db: Connection, session: str = "c", user_id: str = "local") -> list[Message]:
    return SHELF.latest_messages(db, user_id, session, 1000)[0]


def texts(db: Connection, session: str = "c") -> list[str | None]:
    return [message.text for message in all_messages(db, session)]


def test_question_and_answer_join_their_conversation(db: Connection) -> None:
    assert keep(db, said(1)) == [True]
    question, answer = all_messages(db)
    assert (question.role, question.text, question.outcome) == ("user", "question 1", None)
    assert (answer.role, answer.text, answer.model) == ("assistant", "answer 1", "small")
    assert (answer.outcome, answer.code, answer.job_id) == ("completed", "stop", "n03w0-1")
    summary = SHELF.one(db, "local", "c")
    assert summary is not None
    assert (summary.title, summary.created_at, summary.updated_at) == (
        "question 1",
        NOW + 1,
        NOW + 1.5,
    )


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_jobs_that_settle_out_of_order_stand_in_order(
    db: Connection, order: tuple[int, ...]
) -> None:
    keep(db, *(said(number) for number in order))
    assert texts(db) == [f"{who} {n}" for n in (1, 2, 3) for who in ("question", "answer")]
    summary = SHELF.one(db, "local", "c")
    assert summary is not None
    assert (summary.title, summary.created_at, summary.updated_at) == (
        "question 1",
        NOW + 1,
        NOW + 3.5,
    )


def test_a_title_that_was_given_stays(db: Connection) -> None:
    keep(db, said(2))
    assert SHELF.rename(db, "local", "c", "mine")
    keep(db, said(1))
    summary = SHELF.one(db, "local", "c")
    assert summary is not None
    assert summary.title == "mine"


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_what_was_cut_is_kept_with_its_mark(db: Connection, outcome: str) -> None:
    keep(db, said(1, outcome=outcome, code="quota", final_text="half an ans"))
    answer = all_messages(db)[-1]
    assert (answer.text, answer.outcome, answer.code) == ("half an ans", outcome, "quota")


def test_an_answer_whose_text_was_lost_says_so(db: Connection) -> None:
    keep(db, said(1, final_text=None))
    assert [message.outcome for message in all_messages(db)] == [None, "lost"]


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": None},
        {"session_id": "a/b"},
        {"session_id": "a\x00"},
        {"asked": [], "final_text": None},
        {"user_id": "nobody"},
    ],
)
def test_what_is_no_conversation_leaves_nothing(db: Connection, changes: dict[str, Any]) -> None:
    assert keep(db, said(1, **changes)) == [False]
    assert db.scalar(select(func.count()).select_from(messages)) == 0
    assert db.scalar(select(func.count()).select_from(conversations)) == 0


def test_nothing_that_was_said_stands_in_the_database_as_it_was(
    db: Connection,
) -> None:
    keep(db, said(1, final_text="an unmistakable answer"))
    SHELF.rename(db, "local", "c", "an unmistakable title")
    rows = [*db.execute(select(messages)), *db.execute(select(conversations))]
    content = repr(rows).encode()
    assert b"n03w0-1" in content
    assert b"unmistakable" not in content
    assert b"question 1" not in content


def test_rows_that_were_swapped_do_not_open(
    db: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    keep(db, said(1))
    content = db.scalars(select(messages.c.content).order_by(messages.c.number)).all()
    for number, sealed in ((1, content[1]), (2, content[0])):
        db.execute(update(messages).where(messages.c.number == number).values(content=sealed))
    assert texts(db) == [None, None]
    assert "another place" in caplog.text
    assert "question 1" not in caplog.text


def test_the_same_id_of_two_users_is_two_conversations(db: Connection) -> None:
    db.exec_driver_sql("INSERT INTO users VALUES ('ann', 'ann', 'standard', NULL, NULL, 0, NULL)")
    keep(db, said(1), said(2, user_id="ann", final_text="for ann"))
    assert texts(db) == ["question 1", "answer 1"]
    assert [message.text for message in all_messages(db, "c", "ann")] == ["question 2", "for ann"]
    assert not SHELF.rename(db, "eve", "c", "stolen")
    assert not forget(db, "eve", "c", NOW)
    assert forget(db, "ann", "c", NOW)
    assert texts(db) == ["question 1", "answer 1"]


def test_what_is_deleted_is_gone_and_does_not_come_back(db: Connection) -> None:
    keep(db, said(1))
    assert forget(db, "local", "c", NOW + 10)
    assert not forget(db, "local", "c", NOW + 11)
    assert db.scalar(select(func.count()).select_from(messages)) == 0
    assert db.scalar(select(func.count()).select_from(conversations)) == 0
    # One that was under way when it was deleted, and one that was asked afterwards.
    assert keep(db, said(9), said(11)) == [False, True]
    assert texts(db) == ["question 11", "answer 11"]


def test_old_conversations_go_when_they_are_to(db: Connection) -> None:
    keep(db, said(1, session_id="old"), said(100, session_id="new"))
    forget(db, "local", "none", NOW)
    prune_conversations(db, 0, NOW + 1e9)
    assert len(SHELF.newest(db, "local", 9, None)) == 2
    prune_conversations(db, 50, NOW + 100)
    assert [summary.id for summary in SHELF.newest(db, "local", 9, None)] == ["new"]
    assert texts(db, "old") == []


def test_traces_of_deleted_conversations_go_too(db: Connection) -> None:
    keep(db, said(1))
    forget(db, "local", "c", NOW)
    prune_conversations(db, 0, NOW + reading.FORGOTTEN_FOR_S + 1)
    assert db.scalar(select(func.count()).select_from(forgotten)) == 0


def test_a_list_is_read_page_by_page(db: Connection) -> None:
    ends = [5.0, 5.0, 5.0, 4.0, 9.0]
    keep(db, *(said(i, session_id=f"c{i}", ended_at=NOW + end) for i, end in enumerate(ends)))
    seen: list[str] = []
    before: Position | None = None
    while page := SHELF.newest(db, "local", 2, before):
        seen += [summary.id for summary in page]
        before = Position(page[-1].updated_at, page[-1].id)
    assert seen == ["c4", "c2", "c1", "c0", "c3"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_messages_are_read_page_by_page(db: Connection, limit: int) -> None:
    keep(db, *(said(number) for number in (2, 1, 3)))
    whole = texts(db)
    backwards: list[str | None] = []
    page, at = SHELF.latest_messages(db, "local", "c", limit)
    backwards = [message.text for message in page]
    while at is not None:
        page, at = SHELF.latest_messages(db, "local", "c", limit, at)
        backwards = [message.text for message in page] + backwards
    page, at = SHELF.messages_after(db, "local", "c", limit)
    forwards = [message.text for message in page]
    while at is not None:
        page, at = SHELF.messages_after(db, "local", "c", limit, at)
        forwards += [message.text for message in page]
    assert backwards == forwards == whole


def test_a_page_is_bounded_in_bytes(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_BYTES", 400)
    keep(db, said(1, final_text="x" * 1000), said(2), said(3))
    page, at = SHELF.latest_messages(db, "local", "c", 100)
    assert [message.text for message in page][-1] == "answer 3"
    assert len(page) == 4
    page, at = SHELF.latest_messages(db, "local", "c", 100, at)
    assert [len(message.text or "") for message in page] == [1000]
    assert at is not None


def test_an_endless_conversation_keeps_its_end(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MESSAGES_MAX", 4)
    keep(db, *(said(number) for number in (1, 2, 3, 5, 4)))
    assert texts(db) == ["question 4", "answer 4", "question 5", "answer 5"]


def test_a_fault_in_keeping_leaves_the_settlement_alone(
    db: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(SEALER)

    def fault(*_: object) -> list[Any]:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(keeper, "_rows", fault)
    keeper(db, said(1), NOW)
    assert db.scalar(select(func.count()).select_from(conversations)) == 0
    assert "n03w0-1" in caplog.text
    Keeper(SEALER)(db, said(1), NOW)
    assert texts(db) == ["question 1", "answer 1"]
