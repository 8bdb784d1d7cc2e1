"""Which answers can be continued as text, and by which engines. Pure (CONTRACT, promise 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.grants import EngineTarget
from stream_broker.record import JobHead
from stream_broker.relay import Relay


def obstacle(head: JobHead, relay: Relay) -> str | None:
    """Why this round's answer cannot be continued as text, in a few words; None if it can.

    What has not begun can always be asked for again: the conversation before it is known.
    """
    if not relay.begun:
        return None
    if relay.rounds.called:
        return "it has called a tool"
    if relay.reasoned:
        return "it has begun with reasoning"
    if head.call.get("tools"):
        return "it may call tools"
    form = head.call.get("response_format") or {}
    if form.get("type", "text") != "text":
        return "its form is guided"
    return None


def able(targets: Sequence[EngineTarget], numbers: Iterable[int], *, begun: bool) -> list[int]:
    """Those of `numbers` (places in `targets`) that may be asked next.

    Of an answer that has `begun`, only those that go on behind a text.
    """
    return [number for number in numbers if targets[number].continues or not begun]


def lost(
    head: JobHead, relay: Relay, targets: Sequence[EngineTarget], *, whole: bool
) -> str | None:
    """Why a job whose relay has died cannot go on; None if it can.

    `whole`: its log could be read to the end.
    """
    if not whole:
        return "its log cannot be read whole"
    if reason := obstacle(head, relay):
        return reason
    if not able(targets, range(len(targets)), begun=relay.begun):
        return "no engine goes on behind a text"
    return None


def in_order(places: Sequence[int], first: int) -> list[int]:
    """All of these engines, beginning with the one that served last."""
    return [first, *(number for number in places if number != first)]


def places_of(chosen: Iterable[EngineTarget], targets: Sequence[EngineTarget]) -> list[int]:
    """The places in `targets` of those that were chosen, in their order; all places where
    `targets` has none of them."""
    places = {(target.base_url, target.model): number for number, target in enumerate(targets)}
    found = [places.get((target.base_url, target.model)) for target in chosen]
    known = [number for number in found if number is not None]
    return known or list(range(len(targets)))
