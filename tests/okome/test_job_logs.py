"""Which lines are a job's, from whichever source."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from okome.errors import OkomeError
from okome.job_logs import of_job, readable, show_job

JOB = "n03w0-" + "0" * 25 + "A"
LINES = [
    {"time": "3", "message": "ended", "job_id": JOB, "node": "n3", "worker": 0},
    {"time": "1", "message": "granted", "grant_id": "g1", "node": "control", "level": "info"},
    {"time": "2", "message": "begun", "job_id": JOB, "grant_id": "g1", "request_id": "r1"},
    {"time": "0", "message": "asked", "request_id": "r1"},
    {"time": "2", "message": f"{JOB}: moved", "level": "warning"},
    {"time": "2", "message": "begun", "job_id": JOB[:-1] + "B", "grant_id": "g2"},
]


def test_a_job_s_lines_and_what_they_lead_to_in_order() -> None:
    raw = [json.dumps(line) for line in LINES]
    found = of_job(["Traceback …", "[1]", *raw, raw[0]], JOB)
    told = [line["message"] for line in found]
    assert told == ["asked", "granted", "begun", f"{JOB}: moved", "ended"]


def test_a_line_for_people() -> None:
    line = {**LINES[0], "level": "info", "code": "stop", "ttft_ms": None, "exception": "a\nb"}
    assert readable(line) == "3 n3/0 info: ended code=stop\n    a\n    b"


class Loki(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)["query"][0]
        wanted = json.loads(query.partition("|= ")[2])
        values = [["1", text] for text in map(json.dumps, LINES) if wanted in text]
        body = json.dumps({"data": {"result": [{"stream": {}, "values": values}]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def loki() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Loki)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_loki_is_asked_for_what_is_tied_too(loki: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_job(None, JOB, loki, 24, True)
    told = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert told == ["asked", "granted", "begun", f"{JOB}: moved", "ended"]


def test_what_cannot_be_asked_for(loki: str) -> None:
    with pytest.raises(OkomeError, match="is no job id"):
        show_job(None, '"} |= "', loki, 24, True)
    with pytest.raises(OkomeError, match="nobody wrote of"):
        show_job(None, "n09w0-" + "1" * 26, loki, 24, True)
