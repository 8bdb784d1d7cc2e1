"""The first page: do people get their tokens evenly and soon, and if not, which hop is it?"""

from __future__ import annotations

from dataclasses import dataclass

from observability.boards import objectives as at
from observability.boards.model import (
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
    stalls,
)
from observability.slo import WATCHDOG

B = "okome_broker_"
DELIVERED_TTFT = f"{B}delivered_time_to_first_token_seconds"
DELIVERED_GAP = f"{B}delivered_gap_seconds"
ENGINE_TTFT = f"{B}engine_time_to_first_token_seconds"
ENGINE_GAP = f"{B}engine_gap_seconds"
QUIET = "no stream ran within the window"
NO_BROWSER = "no browser has reported: only the chat page and clients that send telemetry do"
UNHELD = "tokens came evenly, and none was held"


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way, by the histogram of its time, and its budget. `always`: every token
    passes it, and not the first alone."""

    name: str
    metric: str
    budget: Levels
    silent: str = ""
    always: bool = False


HOP_BUDGETS = (
    Hop("broker: accepted", f"{B}accept_seconds", at.ACCEPT),
    Hop("control plane: grant", f"{B}grant_seconds", at.GRANT),
    Hop("engine: first token", ENGINE_TTFT, at.ENGINE_TTFT),
    Hop("log: durable", f"{B}time_to_durable_seconds", at.LOG, always=True),
    Hop("pacer: held", f"{B}pacer_hold_seconds", at.HOLD, UNHELD, always=True),
    Hop("broker: own time", f"{B}overhead_seconds", at.OVERHEAD, always=True),
)

NOW = Row(
    "Are people served?",
    (
        Panel(
            "How long do 95 of 100 wait for the first token?",
            "s",
            (Query(quantile(0.95, DELIVERED_TTFT), "p95"),),
            kind="stat",
            levels=at.TTFT,
            about="From the acceptance of a job to its first text on a viewer's connection.",
            silent=QUIET,
            wide=6,
        ),
        Panel(
            "How evenly do tokens come (p99 − p50 of gaps)?",
            "s",
            (Query(jitter(DELIVERED_GAP), "jitter"),),
            kind="stat",
            levels=at.JITTER,
            about="Between the frames of text on viewers' connections. High here and low at the "
            "engine: it is us.",
            silent=QUIET,
            wide=6,
        ),
        Panel(
            "How often do 1,000 tokens stand still (over 500 ms)?",
            "short",
            (Query(stalls(DELIVERED_GAP, f"{B}delivered_events_total"), "stalls"),),
            kind="stat",
            levels=at.STALLS,
            silent=QUIET,
            wide=6,
        ),
        Panel(
            "Which share of streams ends well?",
            "percentunit",
            (
                Query(
                    share(
                        rate(f"{B}jobs_total", 'event!="job_error",kind!="embedding"'),
                        rate(f"{B}jobs_total", 'kind!="embedding"'),
                    ),
                    "ended well",
                ),
            ),
            kind="stat",
            levels=at.SUCCESS,
            about="Cancelled by the client is well; job_error is not. By code: board Brokers.",
            silent=QUIET,
            wide=6,
        ),
    ),
)
HOPS = Row(
    "Which hop is it?",
    (
        Panel(
            "Where does the wait for the first token arise (p95)?",
            "s",
            tuple(Query(quantile(0.95, hop.metric), hop.name, hop.silent) for hop in HOP_BUDGETS),
            levels=at.TTFT,
            about="The highest line is the hop. Budgets: accepted 100 ms, grant 50 ms, held 100 ms "
            "and never the first token.",
            wide=12,
        ),
        Panel(
            "At which point do the gaps grow (p99)?",
            "s",
            (
                Query(quantile(0.99, ENGINE_GAP), "engine → broker"),
                Query(quantile(0.99, DELIVERED_GAP), "broker → socket"),
                Query(
                    quantile(0.99, "okome_client_gap_seconds"), "as browsers felt them", NO_BROWSER
                ),
            ),
            levels=at.GAP_P99,
            about="The first line that is high is where it begins: engine, broker or network.",
            wide=12,
        ),
        Panel(
            "At which point does the first token get late (p95)?",
            "s",
            (
                Query(quantile(0.95, ENGINE_TTFT), "engine → broker"),
                Query(quantile(0.95, DELIVERED_TTFT), "broker → socket"),
                Query(
                    quantile(0.95, "okome_client_time_to_first_token_seconds"),
                    "as browsers felt it",
                    NO_BROWSER,
                ),
            ),
            levels=at.TTFT,
            exemplars=True,
            wide=12,
        ),
        Panel(
            "Does anything pile up (events)?",
            "short",
            (
                Query(f"max({B}log_queue_events)", "waiting for the log"),
                Query(f"max({B}viewer_lag_events)", "behind, at the slowest viewer"),
            ),
            levels=at.PILE,
            about="A slow viewer alone harms nobody else.",
            wide=12,
        ),
        Panel(
            "At which point do tokens stand still (gaps over 500 ms of 1,000)?",
            "short",
            (
                Query(f"1000 * ({beyond(ENGINE_GAP, '0.5')})", "engine → broker"),
                Query(f"1000 * ({beyond(DELIVERED_GAP, '0.5')})", "broker → socket"),
                Query(
                    f"1000 * ({beyond('okome_client_gap_seconds', '0.5')})",
                    "as browsers felt them",
                    NO_BROWSER,
                ),
            ),
            levels=at.STALLS,
            wide=12,
        ),
        Panel(
            "Is the jitter the engine's or ours?",
            "s",
            (
                Query(jitter(ENGINE_GAP), "engine → broker"),
                Query(jitter(DELIVERED_GAP), "broker → socket"),
                Query(jitter("okome_client_gap_seconds"), "as browsers felt it", NO_BROWSER),
            ),
            levels=at.JITTER,
            wide=12,
        ),
    ),
)
TROUBLE = Row(
    "What is in the way?",
    (
        Panel(
            "How many streams run, and on which broker?",
            "short",
            (Query(f"sum by (node) ({B}jobs_running)", "{{node}}"),),
        ),
        Panel(
            "Does anybody wait for a turn?",
            "short",
            (
                Query(f"sum({B}jobs_queued)", "at brokers"),
                Query("sum(okome_control_queue_length)", "in the queue of the control plane"),
            ),
            levels=at.QUEUE,
        ),
        Panel(
            "What are people refused (by code)?",
            "ops",
            (Query(rate(f"{B}requests_refused_total", "", ("code",)), "{{code}}"),),
            silent="nobody was refused",
        ),
        Panel(
            "Which processes do not answer?",
            "bool",
            (Query("min by (job, node) (up)", "{{job}} {{node}}"),),
            levels=Levels(1, 0.5),
            about="1: answers a scrape, 0: does not.",
        ),
        Panel(
            "Do resumes succeed?",
            "ops",
            (Query(rate(f"{B}resumes_total", "", ("relay", "outcome")), "{{relay}} {{outcome}}"),),
            silent="nobody has come back to a stream",
        ),
        Panel(
            "Which alerts fire?",
            "bool",
            (
                Query(
                    "max by (alertname, severity, node) "
                    f'(ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}})',
                    "{{severity}} {{alertname}} {{node}}",
                ),
            ),
            silent="nothing is wrong",
        ),
    ),
)
BOARD = Board(
    "okome-slo",
    "OKOME · SLO overview",
    "Do people get their tokens evenly and soon, and if not, which hop is it?",
    (NOW, HOPS, TROUBLE),
)
