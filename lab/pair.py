"""One of 09 and 10 loses its power: figures and alerts go on from the other, and come once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inventory.model import Node
from lab.drills import settle
from lab.lab import ROOT, Lab
from lab.plays import Report
from lab.shell import LabError, run

# Something to tell of: a broker without a log of its own, in whose absence nothing breaks.
_SICK = "node-07"
_UNIT = "okome-broker-0.service"
_ALERT = "OkomeBrokerDown"
# A rule's minute, two of Prometheus' rounds, the wait for others of the group; and much more.
_TOLD_S = 240.0
_FRESH_S = 60.0
_FETCH = (
    "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
)
# Notes who tells of which alerts: a line of JSON each.
_RECEIVER = """
import http.server, json, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in body["alerts"]:
            labels, link = alert["labels"], alert["annotations"]["runbook_url"]
            told = [self.client_address[0], alert["status"], labels["alertname"], link]
            print(json.dumps(told), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Receiver).serve_forever()
"""


def one_of_the_pair(lab: Lab, report: Report) -> None:
    """without 09, and then without 10, figures and alerts go on from the other"""
    with _receiver(lab) as every:
        for away, other in _turns(lab):
            told = _since(every)
            lab.machines.power_off(lab.host(away.name))
            try:
                _shows(lab, other)
                took, link = _tells(lab, other, told)
                _opens(lab, link)
            finally:
                run(*lab.ssh(_SICK, f"sudo systemctl start {_UNIT}"))
                settle(lab)
            _has_come_back(lab, away, other)
            report(f"without {away.name} {other.name} told of a dead broker after {took:.0f} s")
            report(f"its section of the runbook opened at {link}")
            # What has not been told to be over is not told anew.
            report(f"that it is over was told {_tells_the_end(told):.0f} s later")


def _turns(lab: Lab) -> list[tuple[Node, Node]]:
    first, second = lab.cluster.role("observability")
    return [(first, second), (second, first)]


def _shows(lab: Lab, node: Node) -> None:
    """The built-in page has figures of just now."""
    picture = _get(lab, f"http://{node.address}:{lab.cluster.dash_port}/api/picture?minutes=15")
    if picture["away"] is not None or not picture["rows"]:
        raise LabError(f"the page of {node.name} has no figures: {picture['away']}")
    newest = float(_ask(lab, node, "max(timestamp(up == 1))")[0]["value"][1])
    if time.time() - newest > _FRESH_S:
        raise LabError(f"the figures of {node.name} are {time.time() - newest:.0f} s old")


def _tells(lab: Lab, node: Node, told: Callable[[], list[str]]) -> tuple[float, str]:
    """Of a broker that ends: in so many seconds, with that link. Raises LabError when it does
    not, or twice."""
    run(*lab.ssh(_SICK, f"sudo systemctl stop {_UNIT}"))
    began = time.monotonic()
    while not (said := _firing(told)):
        if time.monotonic() - began > _TOLD_S:
            raise LabError(f"{node.name} alone tells nobody of {_ALERT} in {_TOLD_S:.0f} s")
        time.sleep(1)
    took = time.monotonic() - began
    time.sleep(5)
    said = _firing(told)
    if [who for who, *_ in said] != [node.address]:
        raise LabError(f"{_ALERT} was told by {', '.join(who for who, *_ in said)}")
    return took, said[0][3]


def _opens(lab: Lab, link: str) -> None:
    """The link leads to a section of the page that answers."""
    page, _, section = link.partition("#")
    if not section or f'id="{section}"' not in _read(lab, page):
        raise LabError(f"{_ALERT} leads to {link}, where no such section is")


def _tells_the_end(told: Callable[[], list[str]]) -> float:
    """In so many seconds. Raises LabError when nobody does."""
    began = time.monotonic()
    while [status for _, status, *_ in _of_the_alert(told)][-1:] != ["resolved"]:
        if time.monotonic() - began > _TOLD_S:
            raise LabError(f"nobody tells in {_TOLD_S:.0f} s that {_ALERT} is over")
        time.sleep(1)
    return time.monotonic() - began


def _since(told: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """What comes from now on."""
    before = len(told())
    return lambda: told()[before:]


def _of_the_alert(told: Callable[[], list[str]]) -> list[list[str]]:
    """Who has told what of it, in the order in which it came."""
    every = [json.loads(line) for line in told()]
    return [each for each in every if each[2] == _ALERT]


def _firing(told: Callable[[], list[str]]) -> list[list[str]]:
    return [each for each in _of_the_alert(told) if each[1] == "firing"]


def _has_come_back(lab: Lab, away: Node, other: Node) -> None:
    """The other has figures of it again."""
    deadline = time.monotonic() + _FRESH_S
    while not _ask(lab, other, f'up{{job="prometheus",node="{away.name}"}} == 1'):
        if time.monotonic() > deadline:
            raise LabError(f"{other.name} has no figures of {away.name} again")
        time.sleep(1)


def _ask(lab: Lab, node: Node, query: str) -> list[Any]:
    """What the Prometheus there answers."""
    words = urllib.parse.urlencode({"query": query})
    answer = _get(lab, f"http://{node.address}:{node.port}/api/v1/query?{words}")
    return list(answer["data"]["result"])


def _get(lab: Lab, url: str) -> Any:
    return json.loads(_read(lab, url))


def _read(lab: Lab, url: str) -> str:
    return run(*lab.outside(sys.executable, "-c", _FETCH, url), timeout=60)


@contextmanager
def _receiver(lab: Lab) -> Iterator[Callable[[], list[str]]]:
    """Who is told of alerts, and what so far."""
    where = urllib.parse.urlsplit(lab.told_of_alerts)
    command = lab.outside(sys.executable, "-c", _RECEIVER, str(where.hostname), str(where.port))
    path = lab.state / "alerts"
    with (
        path.open("w", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=file, cwd=ROOT) as receiver,
    ):
        try:
            yield lambda: path.read_text(encoding="utf-8").splitlines()
        finally:
            receiver.kill()
