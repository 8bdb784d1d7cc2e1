"""How Python's cyclic collector is set in a broker.

With the interpreter's own numbers it was a sixth of what opening a stream cost (measured),
for every stream that is opened leaves some three hundred objects that live as long as it
does, and each collection of all generations stops all streams at once.
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
