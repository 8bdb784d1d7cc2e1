"""The control plane: decisions, quotas, usage, its database."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import Board, Levels, Panel, Query, Row, quantile, rate

C = "okome_control_"
NO_POSTGRES = "only where PostgreSQL and its exporter run"

DECIDES = Row(
    "Does it decide?",
    (
        Panel(
            "How long does a grant take (p95)?",
            "s",
            (
                Query(quantile(0.95, f"{C}grant_seconds"), "decided there"),
                Query(quantile(0.95, "okome_broker_grant_seconds"), "as brokers feel it"),
            ),
            levels=at.GRANT,
        ),
        Panel(
            "What does it decide?",
            "ops",
            (Query(rate(f"{C}grants_total", "", ("code",)), "{{code}}"),),
        ),
        Panel(
            "Who is refused for a quota, or for too many streams?",
            "ops",
            (
                Query(
                    rate(
                        f"{C}grants_total",
                        'code=~"quota_exceeded|too_many_streams|rate_limited"',
                        ("code",),
                    ),
                    "{{code}}",
                ),
            ),
            silent="nobody has used up a quota",
        ),
        Panel(
            "How many streams hold a lease?", "short", (Query(f"sum({C}leases_live)", "leases"),)
        ),
        Panel(
            "Which jobs wait for their turn?",
            "short",
            (Query(f"sum by (model) ({C}queue_length)", "{{model}}"),),
            levels=at.QUEUE,
            silent="no job has ever waited",
        ),
        Panel(
            "Do faults happen in it?",
            "ops",
            (Query(rate(f"{C}faults_total"), "faults"),),
            levels=Levels(0.001, 0.1),
        ),
    ),
)
BOOKS = Row(
    "Are the books right?",
    (
        Panel(
            "Which settlements arrive?",
            "ops",
            (
                Query(
                    rate(f"{C}settlements_total", "", ("outcome", "first")),
                    "{{outcome}} first={{first}}",
                ),
            ),
        ),
        Panel(
            "How many tokens are settled, by model?",
            "ops",
            (Query(rate(f"{C}tokens_total", "", ("model", "kind")), "{{model}} {{kind}}"),),
        ),
        Panel(
            "Are leases renewed that hold nothing?",
            "ops",
            (Query(rate(f"{C}leases_unknown_total"), "unknown"),),
            levels=Levels(0.1, 1),
        ),
        Panel(
            "Do sign-ins fail?",
            "ops",
            (Query(rate(f"{C}logins_total", "", ("result",)), "{{result}}"),),
        ),
        Panel(
            "Is the policy file refused?",
            "bool",
            (Query(f"max({C}policy_refused)", "refused"),),
            levels=Levels(0.5, 1),
        ),
        Panel(
            "How do the policy's tools fare?",
            "ops",
            (Query(rate(f"{C}tool_calls_total", "", ("tool", "outcome")), "{{tool}} {{outcome}}"),),
            silent="no job has called a tool",
        ),
    ),
)
DATABASE = Row(
    "Its database",
    (
        Panel(
            "Does PostgreSQL answer?",
            "bool",
            (Query("min(pg_up)", "up"),),
            levels=Levels(1, 0.5),
            silent=NO_POSTGRES,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How many connections has it?",
            "short",
            (Query("sum by (datname) (pg_stat_database_numbackends)", "{{datname}}"),),
            silent=NO_POSTGRES,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How many transactions a second?",
            "ops",
            (Query(rate("pg_stat_database_xact_commit", "", ("datname",)), "{{datname}}"),),
            silent=NO_POSTGRES,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How large is it?",
            "bytes",
            (Query("sum by (datname) (pg_database_size_bytes)", "{{datname}}"),),
            silent=NO_POSTGRES,
            source="cluster",
            wide=6,
        ),
    ),
)
BOARD = Board("okome-control", "OKOME · Control plane and quotas",
              "Does it decide in time, and are the books right?",
              (DECIDES, BOOKS, DATABASE))  # fmt: skip
