"""Both Prometheus' and both Alertmanagers as the playbook runs them: one of each may be away."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster, Node
from observability import alerting, scraping
from okome.programs import find_program
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

NET = f"127.79.{own_octet()}."
RULES = """\
groups:
  - name: here
    rules:
      - {alert: Gone, expr: 'up{job="prometheus"} == 0', labels: {severity: page}}
"""


@dataclass(frozen=True)
class Pair:
    """`http` asks; `programs` are Prometheus and Alertmanager; files are below `place`."""

    cluster: Cluster
    http: httpx.AsyncClient
    programs: tuple[str, str]
    place: Path

    async def start(self, node: Node) -> list[asyncio.subprocess.Process]:
        """Both processes of a node."""
        place = self.place / node.name
        place.mkdir()
        config, told = place / "prometheus.yml", self.place / "alertmanager.yml"
        wanted = scraping.Scraping(self.place / "*.rules", interval_s=1, alertmanagers=True)
        config.write_text(scraping.render(self.cluster, node, wanted), encoding="utf-8")
        listen, kept = f"{node.address}:{node.port}", scraping.Retention(1, 64)
        commands = (
            scraping.arguments(config, place / "figures", listen, kept),
            alerting.arguments(self.cluster, node, told, place / "alerts"),
        )
        return [
            await asyncio.create_subprocess_exec(program, *words, stderr=subprocess.DEVNULL)
            for program, words in zip(self.programs, commands, strict=True)
        ]

    async def ask(self, node: Node, path: str, port: int = scraping.ALERTMANAGER_PORT) -> Any:
        """One of the node's; None while it does not answer."""
        try:
            url = f"http://{node.address}:{port}{path}"
            return (await self.http.get(url)).raise_for_status().json()
        except httpx.HTTPError:
            return None

    async def alerts(self, node: Node) -> set[tuple[str, str]]:
        """(alert, node) of those at the node's Alertmanager."""
        found = await self.ask(node, "/api/v2/alerts") or []
        return {(a["labels"]["alertname"], a["labels"].get("node", "")) for a in found}


def cluster() -> Cluster:
    found = load_cluster(LOCAL.with_name("cluster.yml"))
    nodes = tuple(
        replace(node, address=NET + node.address.rpartition(".")[2]) for node in found.nodes
    )
    return replace(found, nodes=nodes)


async def test_the_second_tells_of_the_first_that_is_gone(tmp_path: Path) -> None:
    names = ("prometheus", "prometheus-alertmanager")
    programs = [find_program(name, os.environ) for name in names]
    if None in programs:
        pytest.skip("needs prometheus and prometheus-alertmanager")
    (tmp_path / "here.rules").write_text(RULES, encoding="utf-8")
    config = alerting.render(alerting.Receivers())
    (tmp_path / "alertmanager.yml").write_text(config, encoding="utf-8")
    async with httpx.AsyncClient(trust_env=False) as http:
        pair = Pair(cluster(), http, (str(programs[0]), str(programs[1])), tmp_path)
        first, second = pair.cluster.role("observability")
        running = {node.name: await pair.start(node) for node in (first, second)}

        async def met() -> bool:
            status = [await pair.ask(node, "/api/v2/status") for node in (first, second)]
            return all(one and len(one["cluster"]["peers"]) == 2 for one in status)

        async def all_is_well() -> bool:
            # Either may have looked before the other one answered; and what is found before
            # the Alertmanagers are known is told them a minute later.
            known = [await pair.ask(n, "/api/v1/alertmanagers", n.port) for n in (first, second)]
            told = [await pair.alerts(node) for node in (first, second)]
            both = all(one and len(one["data"]["activeAlertmanagers"]) == 2 for one in known)
            return both and told == [set(), set()]

        async def it_is_told() -> bool:
            return ("Gone", first.name) in await pair.alerts(second)

        try:
            await eventually_async(met, 20)
            await eventually_async(all_is_well, 20)
            for process in running.pop(first.name):
                process.kill()
                await process.wait()
            await eventually_async(it_is_told, 20)
        finally:
            for process in (each for both in running.values() for each in both):
                process.kill()
                await process.wait()
