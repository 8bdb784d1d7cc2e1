"""The brokers: what each carries, what it costs, what went wrong."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import (
    NODE,
    Board,
    Levels,
    Panel,
    Query,
    Row,
    beyond,
    jitter,
    quantile,
    rate,
    share,
)
from observability.boards.slo import UNHELD
from observability.boards.stream import NODES

B = "okome_broker_"
FAULTLESS = "nothing of this kind has happened"

LOAD = Row(
    "What do they carry?",
    (
        Panel(
            "How many jobs does each relay?",
            "short",
            (Query(f"sum by (node, worker) ({B}jobs_running{{{NODE}}})", "{{node}}.w{{worker}}"),),
        ),
        Panel(
            "How many viewers does each serve?",
            "short",
            (Query(f"sum by (node, worker) ({B}viewers{{{NODE}}})", "{{node}}.w{{worker}}"),),
        ),
        Panel(
            "How many tokens a second, by model?",
            "ops",
            (
                Query(
                    rate(f"{B}tokens_total", f'direction="completion",{NODE}', ("model",)),
                    "{{model}}",
                ),
            ),
            about="Counted when a job ends.",
        ),
        Panel(
            "How do jobs end?",
            "ops",
            (Query(rate(f"{B}jobs_total", NODE, ("event", "code")), "{{event}} {{code}}"),),
        ),
        Panel(
            "Does each deliver evenly (p99 − p50)?",
            "s",
            (Query(jitter(f"{B}delivered_gap_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.JITTER,
        ),
        Panel(
            "How soon is the first text on a connection (p95)?",
            "s",
            (
                Query(
                    quantile(0.95, f"{B}delivered_time_to_first_token_seconds", NODE, ("node",)),
                    "{{node}}",
                ),
            ),
            levels=at.TTFT,
            exemplars=True,
        ),
    ),
)
BEHIND = Row(
    "Is anybody behind?",
    (
        Panel(
            "How many events a second reach viewers?", "ops",
            (Query(rate(f"{B}delivered_events_total", NODE, ("node",)), "{{node}}"),),
            about="Nearly all of them tokens.",
        ),
        Panel(
            "How far is the slowest viewer behind?", "short",
            (Query(f"max by (node) ({B}viewer_lag_events{{{NODE}}})", "{{node}}"),),
            levels=at.PILE,
            about="Events that it may be shown and was not. A slow client harms nobody else.",
        ),
        Panel(
            "How much waits for the log?", "short",
            (Query(f"max by (node) ({B}log_queue_events{{{NODE}}})", "{{node}}"),),
            levels=at.PILE,
        ),
    ),
)  # fmt: skip
OWN = Row(
    "What do they cost?",
    (
        Panel(
            "How much of a core does each use?",
            "percentunit",
            (
                Query(
                    f'rate(process_cpu_seconds_total{{job="okome-broker",{NODE}}}[$__rate_interval])',
                    "{{node}}.w{{worker}}",
                ),
            ),
            levels=Levels(0.7, 0.9),
        ),
        Panel(
            "How much memory does each hold?",
            "bytes",
            (
                Query(
                    f'process_resident_memory_bytes{{job="okome-broker",{NODE}}}',
                    "{{node}}.w{{worker}}",
                ),
            ),
        ),
        Panel(
            "How late are its timers (p99)?",
            "s",
            (Query(quantile(0.99, f"{B}loop_lag_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.LOOP,
            about="A process that is late with its timers is late with tokens.",
        ),
        Panel(
            "How much do tokens wait for the process itself (p99)?",
            "s",
            (Query(quantile(0.99, f"{B}overhead_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.OVERHEAD,
        ),
        Panel(
            "How long does the pacer hold (p99)?",
            "s",
            (Query(quantile(0.99, f"{B}pacer_hold_seconds", NODE, ("node",)), "{{node}}", UNHELD),),
            levels=at.HOLD,
        ),
        Panel(
            "Which share of gaps is over 500 ms?",
            "percentunit",
            (Query(beyond(f"{B}delivered_gap_seconds", "0.5", NODE, ("node",)), "{{node}}"),),
        ),
    ),
)
LOG = Row(
    "The log, as they see it",
    (
        Panel(
            "How long until a flush is durable (p99)?",
            "s",
            (Query(quantile(0.99, f"{B}log_flush_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.LOG,
        ),
        Panel(
            "Which flushes fail, and where is the log away?",
            "short",
            (
                Query(rate(f"{B}log_flush_failures_total", NODE, ("node",)), "{{node}} failures/s"),
                Query(f"max by (node) ({B}log_away{{{NODE}}})", "{{node}} away"),
            ),
            levels=Levels(0.01, 1),
        ),
        Panel(
            "Does the engine have to wait for the log?",
            "ops",
            (
                Query(
                    rate(f"{B}engine_pauses_total", NODE, ("node", "limit")), "{{node}} {{limit}}"
                ),
            ),
            silent=FAULTLESS,
        ),
    ),
)
FAULTS = Row(
    "What goes wrong?",
    (
        Panel(
            "Who is refused, and why?",
            "ops",
            (
                Query(
                    rate(f"{B}requests_refused_total", NODE, ("node", "code")), "{{node}} {{code}}"
                ),
            ),
            silent="nobody was refused",
        ),
        Panel(
            "Why do viewers' connections end?",
            "ops",
            (Query(rate(f"{B}viewers_closed_total", NODE, ("reason",)), "{{reason}}"),),
        ),
        Panel(
            "How many jobs are taken over, and how fast (p95)?",
            "s",
            (Query(quantile(0.95, f"{B}takeover_seconds", NODE, ("node",)), "{{node}}"),),
            levels=Levels(3, 5),
            silent="no broker has died",
        ),
        Panel(
            "How soon does an engine stop when told (p95)?",
            "s",
            (Query(quantile(0.95, f"{B}engine_abort_seconds", NODE, ("node",)), "{{node}}"),),
            levels=Levels(0.5, 1),
            silent="nothing was cancelled",
        ),
        Panel(
            "Which settlements wait, and which are lost?",
            "short",
            (
                Query(f"sum by (node) ({B}settlements_spooled{{{NODE}}})", "{{node}} waiting"),
                Query(rate(f"{B}settlements_dropped_total", NODE, ("node",)), "{{node}} lost/s"),
            ),
            levels=at.SPOOL,
        ),
        Panel(
            "How old is the policy they decide by?",
            "s",
            (Query(f"max by (node) ({B}policy_age_seconds{{{NODE}}})", "{{node}}"),),
            levels=at.POLICY_AGE,
            about="At 300 s new jobs are refused.",
        ),
    ),
)
REST = Row(
    "Embeddings and the hot cache",
    (
        Panel(
            "Which share of lookups is answered from the cache?",
            "percentunit",
            (
                Query(
                    share(
                        rate(f"{B}cache_lookups_total", f'outcome!="miss",{NODE}', ("kind",)),
                        rate(f"{B}cache_lookups_total", NODE, ("kind",)),
                    ),
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            "How long does a lookup take (p99)?",
            "s",
            (Query(quantile(0.99, f"{B}cache_lookup_seconds", NODE, ("kind",)), "{{kind}}"),),
            levels=at.CACHE,
        ),
        Panel(
            "Which lookups does the shared cache not serve?",
            "ops",
            (
                Query(
                    rate(f"{B}cache_errors_total", NODE, ("call", "reason")), "{{call}} {{reason}}"
                ),
            ),
            silent=FAULTLESS,
        ),
        Panel(
            "How do the policy's tools fare?",
            "ops",
            (Query(rate(f"{B}tool_calls_total", NODE, ("outcome",)), "{{outcome}}"),),
            silent="no job has called a tool",
        ),
    ),
)
BOARD = Board(
    "okome-brokers", "OKOME · Brokers", "What each broker carries, what it costs, what goes wrong.",
    (LOAD, BEHIND, OWN, LOG, FAULTS, REST), (NODES,),
)  # fmt: skip
