"""Asks the brokers, again and again, and draws: the only part of `okome top` with a network."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from okome.commands import paths_of
from okome.top.figures import Figures, figures, window_of
from okome.top.reading import Reading, read
from okome.top.terminal import Screen
from okome.top.view import as_json, picture

TIMEOUT = 1.0
WINDOW_S = 60.0
ANSWER_MAX = 8 << 20


class Watch:
    """The brokers of a cluster and what they said in the last minute."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient) -> None:
        self._http = http
        self._places = [
            (node.name, i, f"http://{node.address}:{node.port + i}/metrics")
            for node in cluster.brokers()
            for i in range(node.workers)
        ]
        # Every second for a minute, at most.
        self._said: dict[str, deque[Reading]] = {
            url: deque(maxlen=62) for _, _, url in self._places
        }
        self._away: dict[str, str] = {}

    async def ask(self) -> None:
        """Asks every broker once, all at the same time."""
        await asyncio.gather(*(self._ask(url) for _, _, url in self._places))

    def figures(self) -> list[Figures]:
        """What is known now, in the order of the inventory."""
        return [self._figures(*place) for place in self._places]

    async def _ask(self, url: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._http.get(url)
        except TimeoutError:
            self._away[url] = f"did not answer within {TIMEOUT:g} s"
        except httpx.HTTPError as error:
            self._away[url] = f"cannot be reached ({type(error).__name__})"
        else:
            if answer.status_code != 200 or len(answer.content) > ANSWER_MAX:
                self._away[url] = f"answers {answer.status_code}, {len(answer.content)} bytes"
                return
            self._away.pop(url, None)
            self._said[url].append(read(answer.text, time.monotonic()))

    def _figures(self, node: str, worker: int, url: str) -> Figures:
        said = self._said[url]
        if url in self._away or not said:
            return Figures(node, worker, 0.0, self._away.get(url, "was not asked yet"))
        return figures(node, worker, window_of(list(said), WINDOW_S), said[-1])


def cluster_of(inventory: Path | None) -> Cluster:
    """The one-machine cluster as it runs, else as the inventory says. Raises InventoryError."""
    running = paths_of(inventory).inventory if inventory in (None, LOCAL) else None
    return load_cluster(running if running and running.exists() else inventory or LOCAL)


async def once(cluster: Cluster, interval: float) -> list[Figures]:
    """What happens within `interval` seconds from now."""
    async with _client() as http:
        watch = Watch(cluster, http)
        await watch.ask()
        await asyncio.sleep(interval)
        await watch.ask()
        return watch.figures()


async def live(cluster: Cluster, interval: float, colour: bool) -> None:
    """Draws until Ctrl-C or `q`."""
    async with _client() as http:
        watch = Watch(cluster, http)
        with Screen(sys.stdout) as screen:
            while True:
                await watch.ask()
                size = shutil.get_terminal_size()
                title = f"okome top · {cluster.name} · last {WINDOW_S:.0f} s · q ends"
                screen.draw(picture(watch.figures(), title, size.columns, colour=colour), size)
                if await screen.asked_to_end(interval):
                    return


def run(
    inventory: Path | None,
    once_only: bool,
    interval: float,
    print_json: Callable[[Any], None] | None,
) -> bool:
    """The command. Returns whether every broker answered."""
    cluster = cluster_of(inventory)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if not (once_only or print_json) and sys.stdout.isatty():
        asyncio.run(live(cluster, interval, colour))
        return True
    rows = asyncio.run(once(cluster, interval))
    if print_json:
        print_json(as_json(rows))
    else:
        title = f"okome top · {cluster.name} · {interval:g} s"
        print(picture(rows, title, shutil.get_terminal_size().columns, colour=colour))
    return all(row.reason is None for row in rows)


def _client() -> httpx.AsyncClient:
    # Never through a proxy of the environment: these are addresses of our own.
    return httpx.AsyncClient(trust_env=False, timeout=TIMEOUT)
