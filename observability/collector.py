"""How Python's cyclic collector is set in a process that serves.

With the interpreter's own numbers it was a sixth of what opening a stream cost a broker
(measured), for every stream that is opened leaves some three hundred objects that live as
long as it does, and each collection of all generations stops all streams at once. Under 500
grants a second one of these stopped a process for 76 to 213 ms every few seconds (measured on
a busy machine): the longest of what a decision waited for.
"""

from __future__ import annotations

import gc
from typing import Final

# Objects more than were freed, then multiples of that. A collection of the first generation
# takes 0.1 ms, of the second 1 ms; all is looked at once a million objects have been added.
_THRESHOLDS: Final = (2_000, 10, 50)


def set_collector() -> None:
    """Called once all parts stand: they live as long as the process and are looked at no
    more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
