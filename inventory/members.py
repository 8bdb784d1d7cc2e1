"""What a Redis Cluster says of itself (`CLUSTER NODES`), typed, and whom to believe.

One line a member: `id ip:port@bus[,host] flags master ping pong epoch link [slot…]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One process as another one, or it itself, sees it. `slots` are inclusive pairs."""

    id: str
    address: str
    port: int
    flags: frozenset[str]
    master: str | None
    epoch: int
    connected: bool
    slots: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """`address:port`."""
        return f"{self.address}:{self.port}"

    @property
    def myself(self) -> bool:
        """Is it the process that was asked?"""
        return "myself" in self.flags

    @property
    def failed(self) -> bool:
        """Does the cluster agree that it is down?"""
        return "fail" in self.flags

    def owns(self, slot: int) -> bool:
        """Does it serve the slot?"""
        return any(first <= slot <= last for first, last in self.slots)


def parse_members(text: str) -> tuple[Member, ...]:
    """The reply of `CLUSTER NODES`. Members without an address yet are left out."""
    members = (_member(line.split()) for line in text.splitlines() if line.strip())
    return tuple(member for member in members if member is not None)


def _member(words: list[str]) -> Member | None:
    identity, place, flags, master, _, _, epoch, link, *slots = words
    address, _, port = place.partition("@")[0].rpartition(":")
    known = frozenset(flags.split(","))
    if not address or known & {"noaddr", "handshake"}:
        return None
    return Member(
        id=identity,
        address=address,
        port=int(port),
        flags=known - {"fail?"} | ({"suspected"} if "fail?" in known else set()),
        master=None if master == "-" else master,
        epoch=int(epoch),
        connected=link == "connected",
        # In brackets: slots that are on the move. Nothing here moves single slots.
        slots=tuple(_range(word) for word in slots if not word.startswith("[")),
    )


def _range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first), int(last or first)


def owner(views: Iterable[tuple[Member, ...]], slot: int) -> Member | None:
    """Who serves `slot` by the newest configuration that any of the views knows."""
    claims = [member for view in views for member in view if member.owns(slot)]
    return max(claims, key=lambda member: member.epoch, default=None)
