"""An MCP server with two small tools, to copy from: how to cook rice.

In a policy file, over standard input and output:

    tools:
      rice: {kind: mcp, command: [python, examples/rice_server.py]}

or as a server of its own, `python examples/rice_server.py --port 9100`:

    tools:
      rice: {kind: mcp, url: "http://127.0.0.1:9100/mcp", allow: ["127.0.0.1"]}

The model then finds `rice_kinds` and `rice_water`.
"""

from __future__ import annotations

import argparse
from typing import Literal

from mcp.server.mcpserver import MCPServer

# Millilitres of water for a gram of rice, and minutes that it cooks.
KINDS = {"brown": (2.2, 40), "white": (1.6, 18), "sushi": (1.3, 15)}

server = MCPServer("rice")


@server.tool()
def kinds() -> list[str]:
    """The kinds of rice that are known."""
    return sorted(KINDS)


@server.tool()
def water(grams: float, kind: Literal["brown", "white", "sushi"] = "brown") -> str:
    """How much water some rice needs, and for how long it cooks."""
    if not 0 < grams <= 100_000:
        raise ValueError("Ask for more than nothing and less than 100 kg.")
    per_gram, minutes = KINDS[kind]
    return f"{grams * per_gram:.0f} ml of water, {minutes} minutes"


def main() -> None:
    """Serves until its input ends, or until interrupted."""
    parser = argparse.ArgumentParser(description="An MCP server about rice.")
    parser.add_argument("--port", type=int, help="serve HTTP at 127.0.0.1 instead")
    arguments = parser.parse_args()
    if arguments.port is None:
        server.run()
    else:
        server.run("streamable-http", host="127.0.0.1", port=arguments.port)


if __name__ == "__main__":
    main()
