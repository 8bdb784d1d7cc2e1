"""The admin commands, as a person and as a script use them, on a real control plane."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from okome.errors import OkomeError
from tests.okome.admin.conftest import ROOT, Add, Place

PASSWORD = "correct horse battery"


def signs_in(place: Place, name: str, password: str = PASSWORD) -> bool:
    body = {"name": name, "password": password}
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(f"{place.url}/auth/login", json=body).status_code == 200


def test_a_user_is_added_and_listed(place: Place, add: Add) -> None:
    made = add("ada")
    assert (made["name"], made["tier"], made["has_password"]) == ("ada", "standard", False)
    assert made in place.json("user", "list")["users"]
    line = next(li for li in place.okome("user", "list").splitlines() if li.startswith("ada "))
    assert made["id"] in line


def test_a_password_comes_by_standard_input_only(place: Place, add: Add) -> None:
    assert add("bob", "--stdin", given=f"{PASSWORD}\nignored")["has_password"]
    assert signs_in(place, "bob")
    place.okome("user", "password", "bob", "--stdin", given="another long one\r\n")
    assert not signs_in(place, "bob")
    assert signs_in(place, "bob", "another long one")
    place.okome("user", "password", "bob", "--remove")
    assert not signs_in(place, "bob", "another long one")
    with pytest.raises(OkomeError, match="--stdin"):
        place.okome("user", "password", "bob")


def test_a_user_is_locked_out_and_let_in(place: Place, add: Add) -> None:
    add("cleo", "--stdin", given=PASSWORD)
    assert place.json("user", "disable", "cleo")["disabled_at"]
    assert not signs_in(place, "cleo")
    assert place.json("user", "enable", "cleo")["disabled_at"] is None
    assert signs_in(place, "cleo")


def test_a_key_is_printed_alone_and_once(place: Place, add: Add) -> None:
    add("dan")
    key = place.okome("key", "add", "dan", "--name", "laptop", "--scope", "generate").strip()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=place.url, headers=headers, trust_env=False) as client:
        assert client.get("/auth/session").json()["scopes"] == ["generate"]
        (listed,) = place.json("key", "list", "dan")["keys"]
        assert key not in place.okome("key", "list", "dan")
        place.okome("key", "revoke", listed["id"])
        assert client.get("/auth/session").status_code == 401
    assert place.json("key", "add", "dan", "--days", "1")["expires_at"] is not None


def test_limits_are_set_and_shown(place: Place, add: Add) -> None:
    add("eve")
    place.okome("quota", "set", "--tier", "gold", "--streams", "9", "--tokens-month", "1000")
    assert place.json("user", "tier", "eve", "gold")["tier"] == "gold"
    place.okome("quota", "set", "--user", "eve", "--tokens-month", "50")
    limits = place.json("quota", "show", "--user", "eve")["limits"]
    assert (limits["streams"], limits["tokens_month"]) == (9, 50)
    place.okome("quota", "set", "--user", "eve", "--tokens-month", "none")
    shown = place.okome("quota", "show", "--user", "eve")
    assert "tier gold" in shown
    assert next(li for li in shown.splitlines() if "tokens_month" in li).split()[1:3] == [
        "0",
        "1000",
    ]
    tiers = place.json("quota", "show")["tiers"]
    assert next(tier for tier in tiers if tier["name"] == "gold")["streams"] == 9


def test_logins_are_listed_and_ended(place: Place, add: Add) -> None:
    add("fay", "--stdin", given=PASSWORD)
    assert signs_in(place, "fay")
    assert signs_in(place, "fay")
    first, _ = place.json("session", "list", "--user", "fay")["logins"]
    place.okome("session", "end", first["id"])
    assert len(place.json("session", "list", "--user", "fay")["logins"]) == 1
    assert "1 logins" in place.okome("session", "end", "--user", "fay")
    assert "fay" not in place.okome("session", "list")


def test_usage_is_a_table_a_csv_and_json(place: Place, add: Add) -> None:
    user = add("gus")
    settle(place, user["id"], 3)
    (summed,) = place.json("usage", "--user", "gus", "--month", "2026-11")["usage"]
    assert (summed["requests"], summed["prompt_tokens"]) == (3, 30)
    for more, count in (((), 1), (("--jobs",), 3)):
        text = place.okome("usage", "--user", "gus", "--month", "2026-11", "--format", "csv", *more)
        lines = list(csv.DictReader(io.StringIO(text)))
        assert len(lines) == count
        assert sum(int(line["completion_tokens"]) for line in lines) == 15
        assert {line["user"] for line in lines} == {"gus"}
    assert "gus" in place.okome("usage", "--month", "2026-11")
    assert place.json("usage", "--user", "gus", "--month", "2026-10")["usage"] == []


def settle(place: Place, user_id: str, jobs: int) -> None:
    key = (place.credentials / "service_key").read_text()
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    body = dict.fromkeys(("grant_id", "lease_id", "engine", "node"), "x")
    times = {"created_at": 1_794_000_000.0, "first_token_at": None, "ended_at": 1_794_000_001.0}
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {key}"}) as client:
        for number in range(jobs):
            named = {"job_id": f"{user_id}-{number}", "user_id": user_id, "model": "small"}
            ended = {"outcome": "completed", "code": "stop", "usage": usage}
            url = f"{place.url}/internal/v1/settlements"
            assert client.post(url, json=body | times | named | ended).status_code == 204


def test_the_audit_log_says_what_was_done(place: Place, add: Add) -> None:
    user = add("hal")
    (line,) = [
        line
        for line in place.json("audit", "--action", "user.add")["audit"]
        if line["subject"] == user["id"]
    ]
    assert line["actor"] == "admin"
    assert "user.add" in place.okome("audit")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("user", "add", "a b"), "A name has"),
        (("user", "tier", "local", "none"), "no such tier"),
        (("user", "disable", "a b?c"), "no such user"),
        (("key", "revoke", "key_0"), "no such key"),
        (("usage", "--month", "2026"), "A month is"),
    ],
)
def test_a_refusal_is_one_line(place: Place, arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(OkomeError, match=reason):
        place.okome(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["user"],
        ["user", "add"],
        ["quota", "set", "--streams", "1"],
        ["quota", "set", "--tier", "gold"],
        ["quota", "set", "--tier", "gold", "--streams", "many"],
        ["session", "end"],
        ["usage", "--format", "xml"],
    ],
)
def test_wrong_usage_is_status_2(place: Place, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        place.okome(*arguments)
    assert ended.value.code == 2


def test_another_control_plane_is_named_by_url_and_credentials(
    place: Place, tmp_path: Path
) -> None:
    named = ["--url", place.url, "--credentials", str(place.credentials)]
    done = okome(tmp_path, "user", *named, "list")
    assert (done.returncode, "local" in done.stdout) == (0, True)
    (tmp_path / "admin_key").write_text("x" * 43)
    done = okome(tmp_path, "usage", "--url", place.url, "--credentials", str(tmp_path))
    assert (done.returncode, "does not accept this admin_key" in done.stderr) == (1, True)
    assert len(done.stderr.splitlines()) == 1


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    done = okome(tmp_path, "user", "list")
    assert done.returncode == 1
    assert "OKOME is not running" in done.stderr
    gone = okome(tmp_path, "user", "--url", "http://127.0.0.1:9", "--credentials", "x", "list")
    assert (gone.returncode, "admin_key" in gone.stderr) == (1, True)


def okome(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "okome", *arguments],
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ.get("PATH", os.defpath),
            "OKOME_STATE_DIR": str(state / "none"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_engines_are_listed_and_an_unknown_one_cannot_be_drained(place: Place) -> None:
    assert place.json("engine", "list") == {"engines": []}
    assert place.okome("engine", "list").startswith("NAME")
    with pytest.raises(OkomeError, match="no such engine"):
        place.okome("engine", "drain", "vllm")
