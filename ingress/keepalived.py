"""Keepalived's configuration and its check, as pure text from the inventory.

VRRP version 3 by unicast, an advertisement every 0.2 s: the other node holds the VIP 0.8 s
after the last one (RFC 9568: three intervals and a skew). Both begin as backup and neither
takes the VIP from the other while that serves: a node that comes back waits until it is
needed, so that nothing moves because something has recovered.
"""

from __future__ import annotations

from inventory.model import Cluster, Node

CHECK = "/usr/local/lib/okome/check-ingress"
CHECK_USER = "keepalived_script"
_ASK_S = 0.4
# Bash and coreutils are on every host; curl need not be.
_ASKING = """\
#!/bin/bash
# May this node hold the VIP? Asked by keepalived once a second.

says_yes() {{ # address, path: does HAProxy there answer 200 in time?
    timeout {seconds} bash -c '
        exec 3<>"/dev/tcp/$0/{port}" &&
        printf "GET %s HTTP/1.0\\r\\n\\r\\n" "$1" >&3 &&
        read -r _ status _ <&3 && [ "$status" = 200 ]' "$1" "$2" 2>/dev/null
}}

"""


def render(cluster: Cluster, node: Node, interface: str) -> str:
    """The keepalived.conf of the ingress `node`, whose network is at `interface`.

    Raises ValueError in a cluster whose VIP nobody has to agree on.
    """
    if cluster.vrrp_id is None or node.vrrp_priority is None:
        raise ValueError(f"{cluster.name} has no VIP that moves")
    others = [other.address for other in cluster.role("ingress") if other != node]
    peers = "\n".join(f"        {address}" for address in others)
    return f"""\
global_defs {{
    router_id {node.name}
    vrrp_version 3
    enable_script_security
    script_user {CHECK_USER}
    vrrp_garp_master_refresh 30
}}

vrrp_script serving {{
    script "{CHECK}"
    interval 1
    timeout 2
    fall 1
    rise 2
    init_fail
}}

vrrp_instance okome {{
    state BACKUP
    nopreempt
    interface {interface}
    virtual_router_id {cluster.vrrp_id}
    priority {node.vrrp_priority}
    advert_int 0.2
    unicast_src_ip {node.address}
    unicast_peer {{
{peers}
    }}
    virtual_ipaddress {{
        {cluster.vip}/{cluster.vip_prefix}
    }}
    track_script {{
        serving
    }}
}}
"""


def check_script(cluster: Cluster, node: Node) -> str:
    """The check: may `node` hold the VIP?

    Not without HAProxy, nor while another node has live brokers and it has none. Where
    nobody has any, the VIP stays: a clear 503 is better than an address that nobody answers.
    """

    others = [other for other in cluster.role("ingress") if other != node]
    lines = [
        f"says_yes {node.address} /serving && exit 0",
        f"says_yes {node.address} /healthz || exit 1",
        *(f"says_yes {other.address} /serving && exit 1" for other in others),
        "exit 0",
    ]
    return _ASKING.format(port=cluster.stats_port, seconds=_ASK_S) + "\n".join(lines) + "\n"
