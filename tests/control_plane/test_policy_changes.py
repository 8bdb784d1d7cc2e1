"""How one policy differs from another, and what of it is shown."""

from __future__ import annotations

from control_plane.policy_changes import Change, changes, shown
from tests.control_plane.test_policy_reading import GOOD, read

SECRET = 'method: GET, headers: {Authorization: "Bearer one"}'


def changed(*pairs: tuple[str, str]) -> list[Change]:
    text = GOOD
    for part, other in pairs:
        assert part in text
        text = text.replace(part, other, 1)
    return changes(read(GOOD), read(text))


def test_nothing_changes_with_the_same() -> None:
    assert changed() == []
    assert changed(("version: 1", "version: 1  # a remark")) == []


def test_a_member_that_is_another_is_named_alone() -> None:
    assert changed(("streams: 2", "streams: 3"), ("shorten_at: 0.8, ", "")) == [
        Change(path="tiers.free.streams", change="changed", before=2, after=3),
        Change(path="overload.shorten_at", change="changed", before=0.8, after=1.0),
    ]


def test_entries_come_and_go_as_a_whole() -> None:
    assert changed(("best: chat", "best: chat, quick: tiny"), ("default: best, ", "")) == [
        Change(path="aliases.quick", change="added", after="tiny"),
        Change(path="aliases.default", change="removed", before="best"),
    ]


def test_a_tool_that_becomes_one_of_another_kind_is_one_change() -> None:
    (found,) = changed(("time: {kind: time}", "time: {kind: calculator}"))
    assert (found.path, found.before, found.after) == (
        "tools.time",
        {"kind": "time"},
        {"kind": "calculator"},
    )


def test_the_value_of_a_header_is_not_shown_but_that_it_changes() -> None:
    one = read(GOOD.replace("method: GET", SECRET))
    two = read(GOOD.replace("method: GET", SECRET.replace("one", "two")))
    (found,) = changes(one, two)
    assert found == Change(
        path="tools.weather.headers.Authorization", change="changed", before="…", after="…"
    )
    (added,) = changes(read(GOOD), one)
    for text in (str(shown(one)), str(added)):
        assert "Bearer" not in text
