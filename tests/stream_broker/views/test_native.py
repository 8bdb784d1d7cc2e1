from __future__ import annotations

from stream_broker.views.native import NativeView
from tests.stream_broker.building import failed, token, tokens


def test_blocks_are_the_events_own() -> None:
    view = NativeView()
    assert view.opening() == b""
    first, *rest = tokens(1, 3)
    assert view.blocks([first]) == b"retry: 1000\n" + first.block
    assert view.blocks(rest) == b"".join(event.block for event in rest)


def test_nothing_makes_no_block_and_no_retry() -> None:
    view = NativeView()
    assert view.blocks([]) == b""
    assert view.blocks([token(1)]).startswith(b"retry: 1000\nid: 1\n")


def test_a_lost_log_has_no_number() -> None:
    block = NativeView().failure(failed(4))
    assert block.startswith(b"retry: 1000\nevent: job_error\ndata: {")
    assert block.endswith(b"}\n\n")
    assert b"id: 4" not in block
