"""What routes are given: the parts of one broker, wired once in `app.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inventory.settings import Settings
from stream_broker.acceptance import Acceptance
from stream_broker.authn import Authenticator
from stream_broker.conversations import Conversations
from stream_broker.directory import Directory
from stream_broker.embeddings.service import Embedder
from stream_broker.metrics import BrokerMetrics
from stream_broker.policy import PolicyHolder
from stream_broker.running import Runner
from stream_broker.viewers import Viewers


@dataclass(slots=True)
class Context:
    """One broker process, as its routes see it. `shared_log`: other brokers read it too."""

    settings: Settings
    node: str
    policy: PolicyHolder
    authenticate: Authenticator
    acceptance: Acceptance
    directory: Directory
    conversations: Conversations
    runner: Runner
    embedder: Embedder
    viewers: Viewers
    metrics: BrokerMetrics
    shared_log: bool
    log_away: Callable[[], bool] = lambda: False
    draining: bool = False
