"""An MCP server over standard input and output that fails in whatever way it is asked to.

Written without the SDK: it starts in no time, and can say what no SDK would. `--only NAME`
leaves all tools but one out; `--deaf` never answers anything.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

TREE = {"$ref": "#/$defs/tree"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "echo": {"type": "object", "properties": {"text": {"type": "string"}}},
    "pid": {"type": "object"},
    "many": {"type": "object", "properties": {"bytes": {"type": "integer"}}},
    "die": {"type": "object"},
    "hang": {"type": "object"},
    "garbage": {"type": "object"},
    "broken_text": {"type": "object"},
    "refuse": {"type": "object"},
    "fail": {"type": "object"},
    "picture": {"type": "object"},
    "nonsense": {"type": "object"},
    "recursive": {
        "type": "object",
        "properties": {"tree": TREE},
        "$defs": {"tree": {"type": "object", "properties": {"left": TREE}}},
    },
    "no schema of an object": {"type": "object"},
    "elsewhere": {"type": "object", "$ref": "http://127.0.0.1:1/schema.json"},
}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def raw(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def text(value: str, *, error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}], "isError": error}


def call(number: int, name: str, arguments: dict[str, Any]) -> None:
    result: dict[str, Any] = text("?")
    match name:
        case "echo":
            result = text(arguments.get("text", ""))
        case "pid":
            result = text(str(os.getpid()))
        case "many":
            result = text("x" * arguments["bytes"])
        case "die":
            os._exit(3)
        case "hang":
            return
        case "garbage":
            raw(b"this is no JSON {\n[1, 2\n\n")
            result = text("after the garbage")
        case "broken_text":
            raw(b'{"jsonrpc":"2.0","method":"x","params":{"a":"\xff\xfe"}}\n')
            result = text("after the broken text")
        case "refuse":
            say({"id": number, "error": {"code": -32602, "message": "not like this"}})
            return
        case "fail":
            result = text("it did not work", error=True)
        case "picture":
            result = {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}
        case "nonsense":
            result = {"content": "not a list"}
    say({"id": number, "result": result})


def main() -> None:
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    tools = [
        {"name": name, "description": f"To {name}.", "inputSchema": schema}
        for name, schema in SCHEMAS.items()
        if only in (None, name)
    ]
    for line in sys.stdin:
        if "--deaf" in sys.argv:
            signal.pause()
        message = json.loads(line)
        number, params = message.get("id"), message.get("params") or {}
        match message.get("method"):
            case "initialize":
                version = params["protocolVersion"]
                info = {"name": "misbehaving", "version": "1"}
                result = {"protocolVersion": version, "capabilities": {"tools": {}}}
                say({"id": number, "result": result | {"serverInfo": info}})
            case "tools/list":
                say({"id": number, "result": {"tools": tools}})
            case "tools/call":
                call(number, params["name"], params.get("arguments") or {})
            case _ if number is not None:
                say({"id": number, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    main()
