"""When a host's clock counts as wrong: it was read between two looks at this machine's."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.okome.deploy.putting import ROLES

jinja2 = pytest.importorskip("jinja2", reason="comes with Ansible: scripts/install --test")
PREFLIGHT = ROLES / "preflight"
ASKED = 1_000.0


def said(name: str) -> str:
    """A variable of the role, or of one of its tasks."""
    of_role: dict[str, Any] = yaml.safe_load((PREFLIGHT / "vars/main.yml").read_text("utf-8"))
    tasks: list[dict[str, Any]] = yaml.safe_load((PREFLIGHT / "tasks/main.yml").read_text("utf-8"))
    of_tasks = {key: value for task in tasks for key, value in task.get("vars", {}).items()}
    return str((of_role | of_tasks)[name])


@pytest.mark.parametrize(
    ("host", "answered", "early", "late"),
    [
        # Read at once, or at some time while the answer was on its way.
        (ASKED, ASKED, False, False),
        (ASKED + 40, ASKED + 60, False, False),
        (ASKED - 4, ASKED, False, False),
        (ASKED - 6, ASKED, True, False),
        (ASKED + 5, ASKED, False, False),
        (ASKED + 7, ASKED, False, True),
    ],
)
def test_a_clock_may_differ_by_five_seconds(
    host: float, answered: float, early: bool, late: bool
) -> None:
    def judged(name: str) -> str:
        return str(
            jinja2.Template(said(name)).render(
                preflight_result={"time": host, "began": ASKED},
                preflight_clock_s=5.0,
                now=lambda **_: str(int(answered)),
            )
        )

    assert (judged("preflight_early"), judged("preflight_late")) == (str(early), str(late))


def test_the_remedy_is_named() -> None:
    assert "set up chrony" in said("preflight_skew")
