"""Keeps the stream slots of running jobs: one renewal call for all of them."""

from __future__ import annotations

import asyncio
import logging

from contracts.problems import ProblemError
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.degraded import LEASE_PREFIX

_LOG = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews leases every `interval` seconds, well inside their TTL."""

    def __init__(self, control: ControlClient, *, interval: float) -> None:
        self._control = control
        self._interval = interval
        self._held: set[str] = set()

    def hold(self, lease_id: str) -> None:
        """Renews `lease_id` from now on. A lease granted alone is nobody else's business."""
        if not lease_id.startswith(LEASE_PREFIX):
            self._held.add(lease_id)

    def drop(self, lease_id: str) -> None:
        """Stops renewing; the settlement frees the slot."""
        self._held.discard(lease_id)

    async def run(self) -> None:
        """Renews until cancelled. The control plane being away changes nothing here."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._held:
                continue
            try:
                unknown = await self._control.renew(sorted(self._held))
            except (ControlUnavailable, ProblemError) as error:
                _LOG.debug("leases not renewed: %s", error)
                continue
            if unknown:
                _LOG.info("%d leases had lapsed", len(unknown))
                self._held.difference_update(unknown)
