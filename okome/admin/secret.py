"""Reads passwords: from the terminal or standard input, never from the command line."""

from __future__ import annotations

import sys

import typer

from okome.errors import OkomeError


def read_password(from_stdin: bool) -> str:
    """Asked for twice, or the first line of standard input. Raises OkomeError."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(
            typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        )
    else:
        raise OkomeError("there is no terminal to ask for a password; send it with --stdin")
    if not password:
        raise OkomeError("no password was given")
    return password
