"""`alertmanager.yml` as pure text: who is told of which alert, by which of the pair.

Both Prometheus' send every alert to both Alertmanagers; these tell each other what has been
said, so that a person is told once, and by the other one when one is away. With nobody to
tell, alerts go to a receiver called `nobody`: they are still seen at /api/v2/alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml

from inventory.model import Cluster, Node
from observability.scraping import ALERTMANAGER_PORT
from observability.slo import WATCHDOG

GOSSIP_PORT = 9094
NOBODY = "nobody"
_KEEP = "120h"


@dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """By e-mail. `smarthost` is HOST:PORT, by STARTTLS unless `tls` is false."""

    to: tuple[str, ...]
    sender: str
    smarthost: str
    username: str = ""
    password: str = ""
    tls: bool = True

    def __repr__(self) -> str:
        return f"Mail(to={self.to!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Receivers:
    """Who is told. `webhooks` are URLs; `dead_mans_switch` is the URL of a service elsewhere
    that raises an alarm when it is asked no more. URLs may hold secrets."""

    webhooks: tuple[str, ...] = ()
    mail: Mail | None = None
    dead_mans_switch: str = ""
    repeat_h: int = 4

    def __repr__(self) -> str:
        return f"Receivers(webhooks={len(self.webhooks)}, mail={self.mail!r})"

    @property
    def nobody(self) -> bool:
        """Is there nobody to tell?"""
        return not self.webhooks and self.mail is None


def render(receivers: Receivers) -> str:
    """The configuration, the same on both nodes: only then do they agree what was said."""
    config: dict[str, Any] = {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": NOBODY if receivers.nobody else "operators",
            "group_by": ["alertname", "cluster", "severity"],
            "group_wait": "15s",
            "group_interval": "2m",
            "repeat_interval": f"{receivers.repeat_h}h",
            "routes": [_watchdog(receivers), _informing()],
        },
        "inhibit_rules": [_inhibition()],
        "receivers": list(_receivers(receivers)),
    }
    text = yaml.safe_dump(config, sort_keys=False, width=100)
    return f"# Made by OKOME from the inventory; a change here is lost.\n{text}"


def arguments(cluster: Cluster, node: Node, config: PurePath, data: PurePath) -> tuple[str, ...]:
    """The command line of the Alertmanager (0.25 or later) on `node`, without its name."""
    others = [other for other in cluster.role("observability") if other != node]
    return (
        f"--config.file={config}",
        f"--storage.path={data}",
        f"--data.retention={_KEEP}",
        f"--web.listen-address={node.address}:{ALERTMANAGER_PORT}",
        f"--web.external-url=http://{node.address}:{ALERTMANAGER_PORT}",
        f"--cluster.listen-address={node.address}:{GOSSIP_PORT}",
        f"--cluster.advertise-address={node.address}:{GOSSIP_PORT}",
        *(f"--cluster.peer={other.address}:{GOSSIP_PORT}" for other in others),
        "--cluster.reconnect-timeout=24h",
        "--log.level=warn",
    )


def _watchdog(receivers: Receivers) -> dict[str, Any]:
    return {
        "matchers": [f'alertname="{WATCHDOG}"'],
        "receiver": "dead_mans_switch" if receivers.dead_mans_switch else NOBODY,
        "group_wait": "0s",
        "group_interval": "1m",
        "repeat_interval": "1m",
    }


def _informing() -> dict[str, Any]:
    """Nobody is to do anything about those."""
    return {"matchers": ['severity="info"'], "receiver": NOBODY}


def _inhibition() -> dict[str, Any]:
    """Of the same on the same node the worse one is enough."""
    return {
        "source_matchers": ['severity="page"'],
        "target_matchers": ['severity="ticket"'],
        "equal": ["alertname", "cluster", "node"],
    }


def _receivers(receivers: Receivers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"name": NOBODY}]
    if not receivers.nobody:
        operators: dict[str, Any] = {"name": "operators"}
        if receivers.webhooks:
            operators["webhook_configs"] = [_webhook(url) for url in receivers.webhooks]
        if receivers.mail is not None:
            operators["email_configs"] = [_mail(receivers.mail, to) for to in receivers.mail.to]
        found.append(operators)
    if receivers.dead_mans_switch:
        hook = _webhook(receivers.dead_mans_switch) | {"send_resolved": False}
        found.append({"name": "dead_mans_switch", "webhook_configs": [hook]})
    return found


def _webhook(url: str) -> dict[str, Any]:
    return {"url": url, "send_resolved": True, "max_alerts": 50}


def _mail(mail: Mail, to: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "to": to,
        "from": mail.sender,
        "smarthost": mail.smarthost,
        "require_tls": mail.tls,
        "send_resolved": True,
    }
    if mail.username:
        config |= {"auth_username": mail.username, "auth_password": mail.password}
    return config
