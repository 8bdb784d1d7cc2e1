"""The signing key is replaced, and nobody notices but whom it is meant for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from okome.admin.client import Admin
from okome.admin.rotation import LEARNT_AFTER_S, rotate
from okome.errors import OkomeError
from tests.okome.admin.conftest import Place


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    """A control plane of the test's own: its keys change."""
    place = Place(tmp_path)
    with place.serve() as process:
        yield place
        process.terminate()
        process.communicate(timeout=20)


class Turning:
    """Rotates, and looks at what everybody knows while it waits."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.client = httpx.Client(base_url=place.url, trust_env=False)
        self.waited: list[float] = []
        self.known_before: set[str] = set()

    def now(self, at_once: bool = False, later_s: float = 0.0) -> dict[str, object]:
        key = (self.place.credentials / "admin_key").read_text()
        made = (self.place.credentials / "session_key").stat().st_mtime
        with Admin(self.place.url, key) as admin:
            return rotate(
                self.place.credentials,
                admin,
                at_once=at_once,
                tell=lambda _: None,
                sleep=self.wait,
                clock=lambda: made + later_s,
            )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.known_before = self.known()

    def known(self) -> set[str]:
        keys = self.client.get("/auth/jwks.json").json()["keys"]
        return {key["kid"] for key in keys}

    def token(self) -> str:
        key = (self.place.credentials / "api_key").read_text()
        answer = self.client.post("/auth/token", headers={"Authorization": f"Bearer {key}"})
        return str(answer.json()["token"])

    def accepts(self, token: str) -> bool:
        self.client.cookies.clear()
        headers = {"Authorization": f"Bearer {token}"}
        return self.client.get("/auth/session", headers=headers).status_code == 200


@pytest.fixture
def turning(own: Place) -> Iterator[Turning]:
    made = Turning(own)
    yield made
    made.client.close()


def test_a_key_is_known_before_it_signs_and_after(turning: Turning) -> None:
    (first,) = turning.known()
    token = turning.token()
    answer = turning.now()
    assert turning.waited == [LEARNT_AFTER_S]
    assert turning.known_before == {first, answer["signs"]} == turning.known()
    assert answer["signs"] != first
    assert turning.accepts(token)
    assert turning.accepts(turning.token())


def test_a_key_that_leaked_counts_for_nothing_any_more(turning: Turning) -> None:
    token = turning.token()
    turning.now(at_once=True)
    assert not turning.accepts(token)
    assert turning.accepts(turning.token())
    assert len(turning.known()) == 1


def test_tokens_of_the_key_before_are_not_forgotten_too_soon(turning: Turning) -> None:
    turning.now()
    token = turning.token()
    with pytest.raises(OkomeError, match="--at-once"):
        turning.now(later_s=3500)
    assert turning.accepts(token)
    turning.now(later_s=4000)
    assert turning.accepts(token)


def test_a_rotation_that_was_interrupted_goes_on(turning: Turning) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    turning.wait = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        turning.now()
    del turning.wait
    made = turning.known()
    answer = turning.now()
    assert answer["signs"] in made
    assert turning.known() == made


def test_the_files_stay_private(own: Place, turning: Turning) -> None:
    turning.now()
    for path in own.credentials.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
