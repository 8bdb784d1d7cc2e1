"""LiteLLM's proxy: one worker, no master key, no database: its cheapest set-up."""

from __future__ import annotations

from pathlib import Path

from bench.ask import MODEL
from bench.peers.base import PROXY, Ground, Peer, engine_url
from bench.spec import Target

# 1.107.0 was a compromised release: never leave the version open.
VERSION = "1.109.1"
_CONFIG = f"""\
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: {engine_url()}/v1
      api_key: none
litellm_settings:
  telemetry: false
  request_timeout: 3600
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""


def _program(cache: Path) -> Path:
    return cache / f"litellm-{VERSION}" / "bin" / "litellm"


def _missing(cache: Path) -> str | None:
    return None if _program(cache).exists() else "LiteLLM is not installed (scripts/bench)"


def _start(ground: Ground) -> Target:
    ground.proxy(
        "litellm",
        str(_program(ground.cache)),
        *("--config", ground.write("litellm.yaml", _CONFIG)),
        *("--host", PROXY[0], "--port", str(PROXY[1]), "--num_workers", "1"),
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # else it asks the network for a price list
        LITELLM_LOG="ERROR",
    )
    return Target(*PROXY)


PEER = Peer(
    "litellm",
    "LiteLLM proxy",
    _start,
    lambda _: VERSION,
    _missing,
    # It saturates at a few thousand tokens/s: what it would do of these takes minutes.
    skips=frozenset({"W6", "silent", "frozen", "flood"}),
)
