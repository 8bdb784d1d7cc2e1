"""Who is told of which alert, as text and as Alertmanager reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePath

import pytest
import yaml

from inventory.load import LOCAL, load_cluster
from observability.alerting import Mail, Receivers, arguments, render
from observability.slo import WATCHDOG
from okome.programs import find_program

SECRET = "s3cret"
TOLD = Receivers(
    webhooks=(f"http://127.0.0.1:9/{SECRET}",),
    mail=Mail(("a@example.org", "b@example.org"), "okome@example.org", "mail:587", "me", SECRET),
    dead_mans_switch=f"https://example.org/{SECRET}",
)


@pytest.mark.parametrize("receivers", [Receivers(), TOLD, Receivers(webhooks=("http://h/",))])
def test_alertmanager_takes_it(tmp_path: Path, receivers: Receivers) -> None:
    amtool = find_program("amtool", {})
    if amtool is None:
        pytest.skip("needs amtool (Debian: prometheus-alertmanager)")
    file = tmp_path / "alertmanager.yml"
    file.write_text(render(receivers), encoding="utf-8")

    done = subprocess.run(
        [amtool, "check-config", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_with_nobody_to_tell_alerts_go_to_nobody() -> None:
    config = yaml.safe_load(render(Receivers()))
    assert config["route"]["receiver"] == "nobody"
    assert config["receivers"] == [{"name": "nobody"}]
    assert [route["receiver"] for route in config["route"]["routes"]] == ["nobody"] * 2


def test_the_dead_mans_switch_goes_its_own_way_every_minute() -> None:
    config = yaml.safe_load(render(TOLD))
    route, _ = config["route"]["routes"]
    assert route["matchers"] == [f'alertname="{WATCHDOG}"']
    assert (route["receiver"], route["repeat_interval"]) == ("dead_mans_switch", "1m")
    assert config["route"]["receiver"] == "operators"
    names = {receiver["name"]: receiver for receiver in config["receivers"]}
    assert [hook["url"] for hook in names["dead_mans_switch"]["webhook_configs"]] == [
        TOLD.dead_mans_switch
    ]
    assert [mail["to"] for mail in names["operators"]["email_configs"]] == [
        "a@example.org",
        "b@example.org",
    ]


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(TOLD)


def test_the_two_know_each_other() -> None:
    cluster = load_cluster(LOCAL.with_name("cluster.yml"))
    first, second = cluster.role("observability")
    place = PurePath("/p")
    said = [arguments(cluster, node, place / "a.yml", place) for node in (first, second)]
    assert f"--cluster.peer={second.address}:9094" in said[0]
    assert f"--cluster.peer={first.address}:9094" in said[1]
    assert all(sum("cluster.peer=" in word for word in words) == 1 for words in said)
