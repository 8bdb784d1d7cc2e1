"""`/v1/sessions` over a whole control plane: from settlements to what a user sees."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.control_plane.conftest import Start
from tests.control_plane.harness import HOST, NOW, Clock, Harness

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE conversations; --",
    "{{7*7}} ${7*7} %s %n",
    "../../etc/passwd",
    "\u202egnp.exe",
    "a\x00b\x1b[31m\r\nSet-Cookie: x=1",
    "🦊" * 100,
]


async def settle(control: Harness, number: int = 1, **changes: Any) -> None:
    members = {
        "job_id": f"n03w0-{number}",
        "session_id": "c-1",
        "asked": [{"role": "user", "text": f"question {number}"}],
        "final_text": f"answer {number}",
        "created_at": NOW + number,
        "ended_at": NOW + number,
    }
    assert (await control.settle(**members | changes)).status_code == 204


async def another_user(control: Harness, start_of_key: str = "B") -> str:
    """An API key of a second user."""
    key = "ok_" + start_of_key * 43
    from control_plane.store.keys import add_key

    def make(connection: Any) -> None:
        connection.exec_driver_sql(
            "INSERT INTO users VALUES ('ann', 'ann', 'standard', NULL, NULL, 0, NULL)"
        )
        add_key(connection, "ann", key, name="", scopes=("generate",), expires_at=None, now=NOW)

    await control.plane.database.run(make)
    await control.plane.reload_roster()
    return key


def said(answer: httpx.Response) -> list[str]:
    return [message["text"] for message in answer.json()["messages"]]


async def test_a_settled_job_is_a_conversation(control: Harness) -> None:
    assert (await control.call("GET", "/v1/sessions")).json() == {"sessions": [], "next": None}
    await settle(control)
    answer = await control.call("GET", "/v1/sessions")
    assert answer.json() == {
        "sessions": [
            {"id": "c-1", "title": "question 1", "created_at": NOW + 1, "updated_at": NOW}
        ],
        "next": None,
    }
    answer = await control.call("GET", "/v1/sessions/c-1")
    assert answer.json()["title"] == "question 1"
    assert answer.json()["earlier"] is None
    assert answer.json()["messages"] == [
        {"role": "user", "text": "question 1", "job_id": "n03w0-1", "created_at": NOW + 1},
        {
            "role": "assistant",
            "text": "answer 1",
            "job_id": "n03w0-1",
            "created_at": NOW + 1,
            "model": "small",
            "outcome": "completed",
            "code": "stop",
        },
    ]


async def test_a_repeated_settlement_adds_nothing(control: Harness, start: Start) -> None:
    for _ in range(3):
        await settle(control)
    await settle(control, final_text="another answer of the same job")
    assert said(await control.call("GET", "/v1/sessions/c-1")) == ["question 1", "answer 1"]


async def test_conversations_survive_a_restart(start: Start) -> None:
    async with start() as control:
        await settle(control)
    async with start() as control:
        assert said(await control.call("GET", "/v1/sessions/c-1")) == ["question 1", "answer 1"]


async def test_to_others_a_conversation_does_not_exist(control: Harness) -> None:
    await settle(control)
    other = {"Authorization": f"Bearer {await another_user(control)}"}
    for method, path, options in (
        ("GET", "/v1/sessions/c-1", {}),
        ("PATCH", "/v1/sessions/c-1", {"json": {"title": "x"}}),
        ("DELETE", "/v1/sessions/c-1", {}),
        ("GET", "/v1/sessions/c-1/export", {}),
    ):
        theirs = await control.call(method, path, headers=other, **options)
        none = await control.call(method, path.replace("c-1", "c-2"), headers=other, **options)
        assert (theirs.status_code, theirs.content) == (404, none.content)
    assert (await control.call("GET", "/v1/sessions", headers=other)).json()["sessions"] == []
    # The other may use the same id: it is a conversation of its own.
    await settle(control, 2, user_id="ann")
    assert said(await control.call("GET", "/v1/sessions/c-1", headers=other)) == [
        "question 2",
        "answer 2",
    ]
    assert said(await control.call("GET", "/v1/sessions/c-1")) == ["question 1", "answer 1"]


async def test_without_a_credential_or_the_scope_nothing_is_shown(control: Harness) -> None:
    await settle(control)
    assert (await control.client.get("/v1/sessions")).status_code == 401
    made = await control.call("POST", "/v1/keys", json={"scopes": ["keys"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await control.call("GET", "/v1/sessions", headers=headers)).status_code == 403


async def test_a_conversation_is_renamed_and_deleted(control: Harness, clock: Clock) -> None:
    await settle(control)
    answer = await control.call("PATCH", "/v1/sessions/c-1", json={"title": " My\n rice "})
    assert (answer.status_code, answer.json()["title"]) == (200, "My rice")
    await settle(control, 2)
    assert (await control.call("GET", "/v1/sessions/c-1")).json()["title"] == "My rice"
    clock.now += 60
    assert (await control.call("DELETE", "/v1/sessions/c-1")).status_code == 204
    assert (await control.call("DELETE", "/v1/sessions/c-1")).status_code == 404
    assert (await control.call("GET", "/v1/sessions/c-1")).status_code == 404
    await settle(control, 3)
    assert (await control.call("GET", "/v1/sessions")).json()["sessions"] == []


@pytest.mark.parametrize("title", ["", "  ", "\x00", "x" * 201, None, 7, ["x"]])
async def test_a_bad_title_is_refused(control: Harness, title: object) -> None:
    await settle(control)
    answer = await control.call("PATCH", "/v1/sessions/c-1", json={"title": title})
    assert (answer.status_code, answer.json()["field"]) == (400, "title")


async def test_by_cookie_changes_need_the_own_origin(control: Harness) -> None:
    await settle(control)
    await control.login()
    for method, options in (("PATCH", {"json": {"title": "x"}}), ("DELETE", {})):
        for headers in ({}, {"Origin": "http://evil.test"}):
            answer = await control.client.request(
                method, "/v1/sessions/c-1", headers=headers, **options
            )
            assert answer.json()["code"] == "origin_not_allowed"
        own = await control.client.request(
            method, "/v1/sessions/c-1", headers={"Origin": HOST}, **options
        )
        assert own.is_success
    assert (await control.client.get("/v1/sessions")).status_code == 200


@pytest.mark.parametrize("text", HOSTILE)
async def test_titles_are_text_and_nothing_else(control: Harness, text: str) -> None:
    await settle(control, asked=[{"role": "user", "text": text}])
    answer = await control.call("GET", "/v1/sessions/c-1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["messages"][0]["text"] == text
    title = answer.json()["title"]
    assert 0 < len(title) <= 80
    assert not set(title) & set("\x00\x1b\r\n\u202e")
    for kind in ("json", "markdown"):
        export = await control.call("GET", f"/v1/sessions/c-1/export?format={kind}")
        assert export.headers["content-disposition"].startswith("attachment; filename=")
        assert export.headers["x-content-type-options"] == "nosniff"
        assert "html" not in export.headers["content-type"]
        assert "set-cookie" not in export.headers


@pytest.mark.parametrize("session", [*HOSTILE[:4], "…", "a b", "%2F", "?x=1#y", "x" * 256])
async def test_any_id_that_was_taken_can_be_asked_for(control: Harness, session: str) -> None:
    await settle(control, session_id=session)
    usable = "/" not in session
    found = (await control.call("GET", "/v1/sessions")).json()["sessions"]
    assert [one["id"] for one in found] == ([session] if usable else [])
    answer = await control.call("GET", f"/v1/sessions/{quote(session, safe='')}")
    assert answer.status_code == (200 if usable else 404)


@pytest.mark.parametrize("session", ["a\x00b", "x" * 257, "..", "a/b", "\x7f"])
async def test_an_impossible_id_is_settled_without_its_conversation(
    control: Harness, session: str
) -> None:
    await settle(control, session_id=session)
    assert (await control.call("GET", "/v1/usage")).json()["models"][0]["requests"] == 1
    assert (await control.call("GET", "/v1/sessions")).json()["sessions"] == []
    answer = await control.call("GET", f"/v1/sessions/{quote(session, safe='')}")
    assert answer.status_code == 404


async def test_the_list_and_the_messages_come_in_pages(control: Harness, clock: Clock) -> None:
    clock.now += 100
    for number in range(5):
        await settle(control, number, session_id=f"c-{number}")
        await settle(control, number + 10, session_id="long")
    seen, before = [], ""
    while before is not None:
        page = (await control.call("GET", f"/v1/sessions?limit=2{before}")).json()
        seen += [one["id"] for one in page["sessions"]]
        before = page["next"] and f"&before={page['next']}"
    assert seen == ["long", "c-4", "c-3", "c-2", "c-1", "c-0"]
    last = (await control.call("GET", "/v1/sessions/long?limit=3")).json()
    assert [one["text"] for one in last["messages"]] == ["answer 13", "question 14", "answer 14"]
    path = f"/v1/sessions/long?limit=3&before={last['earlier']}"
    assert said(await control.call("GET", path)) == ["question 12", "answer 12", "question 13"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1e3", "limit=", "before=x", "before=é"]
)
async def test_a_bad_query_is_refused(control: Harness, query: str) -> None:
    await settle(control)
    for path in ("/v1/sessions", "/v1/sessions/c-1"):
        answer = await control.call("GET", f"{path}?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, query.partition("=")[0])


async def test_an_export_is_the_whole_conversation(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.routes.conversations.LIMIT_MAX", 3)
    for number in range(5):
        await settle(control, number)
    whole = (await control.call("GET", "/v1/sessions/c-1/export")).json()
    assert set(whole) == {"id", "title", "created_at", "updated_at", "messages"}
    assert [one["text"] for one in whole["messages"]] == [
        f"{who} {number}" for number in range(5) for who in ("question", "answer")
    ]
    text = (await control.call("GET", "/v1/sessions/c-1/export?format=markdown")).text
    assert text.startswith("# question 0\n")
    assert text.index("answer 0") < text.index("## You\n\nquestion 4") < text.index("answer 4")
    refused = await control.call("GET", "/v1/sessions/c-1/export?format=html")
    assert (refused.status_code, refused.json()["field"]) == (400, "format")


async def test_an_empty_export_is_json_too(control: Harness) -> None:
    answer = await control.call("GET", "/v1/sessions/none/export")
    assert answer.status_code == 404
    await settle(control, asked=[], final_text="")
    whole = json.loads((await control.call("GET", "/v1/sessions/c-1/export")).content)
    assert [one["text"] for one in whole["messages"]] == [""]


async def test_conversations_are_kept_as_long_as_it_is_set(start: Start, clock: Clock) -> None:
    async with start("conversations_keep=3600") as control:
        await settle(control)
        clock.now += 3000
        await control.plane.prune()
        assert len((await control.call("GET", "/v1/sessions")).json()["sessions"]) == 1
        clock.now += 3000
        await control.plane.prune()
        assert (await control.call("GET", "/v1/sessions")).json()["sessions"] == []


async def test_a_settlement_may_be_larger_than_a_request(start: Start) -> None:
    async with start("body_max=1024") as control:
        await settle(control, final_text="\x01" * (128 << 10))
        assert said(await control.call("GET", "/v1/sessions/c-1"))[1] == "\x01" * (128 << 10)
