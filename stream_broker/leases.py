"""Keeps the stream slots of running jobs: one renewal call for all of them.

A lease that the control plane does not know is acquired again (CONTRACT, "Internal
API"): it was away for longer than the lease's TTL, or it lost its store, or it was not there
when this broker granted alone. A job whose user has no slot left goes on without one.
"""

from __future__ import annotations

import asyncio
import logging

from contracts.problems import ProblemError
from stream_broker.control import ControlClient, ControlUnavailable

_LOG = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews leases every `interval` seconds, well inside their TTL. `node` holds them."""

    def __init__(self, control: ControlClient, node: str, *, interval: float) -> None:
        self._control = control
        self._node = node
        self._interval = interval
        self._held: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, lease_id: str, user_id: str) -> None:
        """Renews `lease_id` from now on."""
        self._held[lease_id] = user_id

    def drop(self, lease_id: str) -> None:
        """Stops renewing; the settlement frees the slot."""
        self._held.pop(lease_id, None)

    async def run(self) -> None:
        """Renews until cancelled. The control plane being away changes nothing here."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._held:
                continue
            try:
                await self._renew()
            except (ControlUnavailable, ProblemError) as error:
                _LOG.debug("leases not renewed: %s", error)

    async def _renew(self) -> None:
        unknown = await self._control.renew(sorted(self._held))
        # A job may have ended, and been settled, meanwhile.
        lost = {lease: self._held[lease] for lease in unknown if lease in self._held}
        if lost:
            refused = await self._control.acquire(lost, self._node)
            _LOG.info("%d leases had lapsed, %d have no slot", len(lost), len(refused))
