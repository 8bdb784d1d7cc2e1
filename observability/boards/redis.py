"""Redis: the log of the stream nodes, and the hot cache."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import Board, Levels, Panel, Query, Row, Unit, quantile, rate

LOG, CACHE = 'use="log"', 'use="cache"'
EXPORTER = "needs redis_exporter, which the cluster's observability nodes run"


def _panel(title: str, unit: Unit, *queries: Query, levels: Levels | None = None) -> Panel:
    return Panel(title, unit, queries, levels=levels, silent=EXPORTER, source="cluster")


FELT = Row(
    "As brokers feel it",
    (
        Panel(
            "How long until a flush is durable (p50, p99)?",
            "s",
            (
                Query(quantile(0.5, "okome_broker_log_flush_seconds"), "p50"),
                Query(quantile(0.99, "okome_broker_log_flush_seconds"), "p99"),
            ),
            levels=at.LOG,
        ),
        Panel(
            "How many flushes a second?",
            "ops",
            (Query(rate("okome_broker_log_flush_seconds_count", "", ("node",)), "{{node}}"),),
        ),
        Panel(
            "Which homes have no log?",
            "bool",
            (Query("max by (node) (okome_broker_log_away)", "{{node}}"),),
            levels=Levels(0.5, 1),
        ),
    ),
)
LOGS = Row(
    "The log",
    (
        _panel(
            "Which Redis do not answer?",
            "bool",
            Query(f"min by (instance) (redis_up{{{LOG}}})", "{{instance}}"),
            levels=Levels(1, 0.5),
        ),
        _panel(
            "Which replicas have lost their primary?",
            "bool",
            Query(f"min by (instance) (redis_master_link_up{{{LOG}}})", "{{instance}}"),
            levels=Levels(1, 0.5),
        ),
        _panel(
            "How far behind are the replicas?",
            "s",
            Query(
                f"max by (instance) (redis_connected_slave_lag_seconds{{{LOG}}})", "{{instance}}"
            ),
            levels=Levels(1, 5),
        ),
        _panel(
            "How full is each?",
            "percentunit",
            Query(
                f"redis_memory_used_bytes{{{LOG}}} / (redis_memory_max_bytes{{{LOG}}} > 0)",
                "{{instance}}",
            ),
            levels=Levels(0.7, 0.9),
        ),
        _panel(
            "How many commands a second?",
            "ops",
            Query(rate("redis_commands_processed_total", LOG, ("instance",)), "{{instance}}"),
        ),
        _panel(
            "Are all slots served?",
            "short",
            Query(f"min by (instance) (redis_cluster_slots_ok{{{LOG}}})", "{{instance}}"),
            levels=Levels(16_384, 16_383),
        ),
    ),
)
HOT = Row(
    "The hot cache",
    (
        _panel(
            "Does it answer?",
            "bool",
            Query(f"redis_up{{{CACHE}}}", "{{instance}}"),
            levels=Levels(1, 0.5),
        ),
        _panel(
            "How full is it?",
            "bytes",
            Query(f"redis_memory_used_bytes{{{CACHE}}}", "used"),
            Query(f"redis_memory_max_bytes{{{CACHE}}}", "at most"),
        ),
        _panel(
            "How much does it throw out?",
            "ops",
            Query(rate("redis_evicted_keys_total", CACHE), "keys"),
        ),
    ),
)
BOARD = Board("okome-redis", "OKOME · Redis", "Is it the log?", (FELT, LOGS, HOT))
