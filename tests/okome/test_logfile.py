"""Logs: bounded, followed over their rotation, remembering the last line."""

from __future__ import annotations

from pathlib import Path

from okome.logfile import BoundedLog, Follower, tail


def test_a_log_takes_at_most_twice_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with BoundedLog(path, limit=1000) as log:
        for number in range(500):
            log.write(b"line %d\n" % number)
        assert log.last_line == "line 499"

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    assert tail(path, 3) == ["line 497", "line 498", "line 499"]
    assert len(tail(path, 10_000)) > 100


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for word in (b"one\n", b"two\n"):
        with BoundedLog(path) as log:
            log.write(word)
    assert tail(path, 9) == ["one", "two"]
    assert tail(tmp_path / "none.log", 9) == []


def test_a_follower_sees_whole_lines_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with BoundedLog(path, limit=20) as log:
        log.write(b"before\n")
        follower = Follower(path)
        log.write(b"half")
        assert list(follower.new_lines()) == []
        log.write(b" whole\n")
        assert list(follower.new_lines()) == ["half whole"]
        log.write(b"after the rotation\n")
        assert list(follower.new_lines()) == ["after the rotation"]


def test_the_last_line_is_of_the_present_life(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "a.log") as log:
        log.write(b"Traceback\nValueError: x\n\n")
        assert log.last_line == "ValueError: x"
        log.forget()
        assert log.last_line == ""
