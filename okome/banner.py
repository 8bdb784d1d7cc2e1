"""What `okome up` prints once everything is ready: how to use it, ready to be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence


def banner(
    chat_url: str, api_url: str, api_key: str, model: str, lacking: Sequence[str], detached: bool
) -> str:
    """The lines for a person: chat page, API key, one curl, what is lacking, how to end it."""
    ending = "`okome down` ends everything." if detached else "Ctrl-C ends everything."
    lines = [
        "",
        "OKOME is ready.",
        "",
        f"  Chat page  {chat_url}",
        f"  API key    {api_key}",
        "  Try it     " + curl(api_url, api_key, model),
        "",
        *(f"  Note: {line}" for line in lacking),
        f"  {ending} `okome status` shows every process, `okome url` makes a fresh chat link.",
        "",
    ]
    return "\n".join(lines)


def curl(api_url: str, api_key: str, model: str) -> str:
    """A command that streams one answer."""
    body = {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }
    words = ["curl", "-N", f"{api_url}/v1/chat/completions"]
    words += ["-H", f"Authorization: Bearer {api_key}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(body)])
