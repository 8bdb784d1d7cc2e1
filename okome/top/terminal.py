"""A terminal that is drawn on, and given back as it was."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from types import TracebackType
from typing import Any, TextIO

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"


class Screen:
    """The second page of a terminal, without a cursor, for as long as the block lasts."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._saved: list[Any] | None = None

    def __enter__(self) -> Screen:
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self._out.write(_ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._out.write(_LEAVE)
        self._out.flush()
        if self._saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def draw(self, text: str, size: os.terminal_size) -> None:
        """Shows `text` in place of what was there; what does not fit is left out."""
        lines = text.splitlines()[: max(1, size.lines - 1)]
        # Line by line over the old ones: clearing all first would flicker.
        self._out.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines) + "\x1b[J")
        self._out.flush()

    async def asked_to_end(self, within: float) -> bool:
        """Was `q` typed within so many seconds?"""
        if self._saved is None:
            await asyncio.sleep(within)
            return False
        loop = asyncio.get_running_loop()
        typed = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), typed.set)
        try:
            async with asyncio.timeout(within):
                await typed.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(sys.stdin.fileno())
        return os.read(sys.stdin.fileno(), 64)[:1] in (b"q", b"Q", b"")
