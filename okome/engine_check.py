"""Whether the embedded engine can be loaded here, without loading its 30 MB."""

from __future__ import annotations

import ctypes
import importlib.util

LIBRARY = "libgomp.so.1"


def engine_fault() -> str | None:
    """None, or what is lacking and how to mend it."""
    if importlib.util.find_spec("xllamacpp") is None:
        return (
            "the embedded engine is not installed; run `scripts/install` (or "
            "`pip install 'okome[engine]'`), or use an engine of yours with --engine URL"
        )
    try:
        # GCC's OpenMP runtime: the one thing that the package takes from the distribution, and
        # a minimal Debian or Ubuntu does not have it.
        ctypes.CDLL(LIBRARY)
    except OSError:
        return (
            f"the embedded engine needs {LIBRARY} (sudo apt-get install libgomp1), "
            "or use an engine of yours with --engine URL"
        )
    return None
