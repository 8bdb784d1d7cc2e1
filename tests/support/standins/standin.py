"""What the stand-ins of the planes share: a tiny HTTP server on a node's address."""

import argparse
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from inventory.load import load_cluster


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inventory", type=Path)
    parser.add_argument("--state")
    parser.add_argument("--credentials")
    parser.add_argument("--settings")
    parser.add_argument("--set", action="append")
    parser.add_argument("--node", default="")
    parser.add_argument("--worker", type=int, default=0)
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({"ready": True})

    def do_POST(self) -> None:
        self.answer({"token": "standin-token", "expires_at": 0})

    def answer(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """HAProxy's health checks reset the connection once they have seen the status."""


def main(role: str) -> None:
    chosen = options()
    cluster = load_cluster(chosen.inventory)
    node = cluster.node(chosen.node) if chosen.node else cluster.role("control")[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"{role} stand-in on {node.address}:{node.port}", flush=True)
    Server((node.address, node.port + chosen.worker), Handler).serve_forever()
