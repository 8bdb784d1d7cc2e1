"""One stream's life: from a job's id to its hops."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import NODE, Board, Panel, Query, Row, Variable, quantile, rate
from observability.boards.slo import UNHELD

B = "okome_broker_"
NODES = Variable("node", "Node", "label_values(okome_broker_jobs_running, node)")
JOB = Variable("job_id", "Job id")
LOKI = "Loki is not there, or has no line of this job"

FIND = Row(
    "Find a job",
    (
        Panel(
            "Which jobs were slow? (points lead to jobs)",
            "s",
            (
                Query(
                    quantile(0.99, f"{B}delivered_time_to_first_token_seconds", NODE, ("node",)),
                    "first token {{node}}",
                ),
            ),
            levels=at.TTFT,
            exemplars=True,
            about="A job's id begins with its home: n03w0- is worker 0 of node 03. Choose that "
            "node above.",
            wide=12,
        ),
        Panel(
            "Which jobs had gaps? (points lead to jobs)",
            "s",
            (Query(quantile(0.99, f"{B}delivered_gap_seconds", NODE, ("node",)), "gap {{node}}"),),
            levels=at.GAP_P99,
            exemplars=True,
            wide=12,
        ),
        Panel(
            "What did every process write of this job?",
            "short",
            (Query('{unit=~"okome.*"} |= "$job_id"'),),
            kind="logs",
            about="The same without Loki: okome logs --job ID.",
            silent=LOKI,
            source="loki",
            wide=24,
        ),
    ),
)
WALK = Row(
    "The hops of its home, then",
    (
        Panel(
            "1 · Was it accepted in time?",
            "s",
            (
                Query(
                    quantile(0.95, f"{B}accept_seconds", NODE, ("node", "outcome")),
                    "{{node}} {{outcome}}",
                ),
            ),
            levels=at.ACCEPT,
        ),
        Panel(
            "2 · Did the control plane decide in time?",
            "s",
            (
                Query(
                    quantile(0.95, f"{B}grant_seconds", NODE, ("node", "outcome")),
                    "{{node}} {{outcome}}",
                ),
            ),
            levels=at.GRANT,
        ),
        Panel(
            "3 · Did the engine begin in time?",
            "s",
            (
                Query(
                    quantile(
                        0.95,
                        f"{B}engine_time_to_first_token_seconds",
                        NODE,
                        ("node", "engine", "model"),
                    ),
                    "{{node}} {{engine}} {{model}}",
                ),
            ),
            levels=at.ENGINE_TTFT,
        ),
        Panel(
            "4 · Did the engine go on evenly?",
            "s",
            (
                Query(
                    quantile(0.99, f"{B}engine_gap_seconds", NODE, ("node", "engine", "model")),
                    "{{node}} {{engine}} {{model}}",
                ),
            ),
            levels=at.GAP_P99,
        ),
        Panel(
            "5 · Did the log hold it in time?",
            "s",
            (Query(quantile(0.99, f"{B}time_to_durable_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.LOG,
        ),
        Panel(
            "6 · Did the pacer hold it too long?",
            "s",
            (Query(quantile(0.99, f"{B}pacer_hold_seconds", NODE, ("node",)), "{{node}}", UNHELD),),
            levels=at.HOLD,
        ),
        Panel(
            "7 · Did it reach the socket evenly?",
            "s",
            (Query(quantile(0.99, f"{B}delivered_gap_seconds", NODE, ("node",)), "{{node}}"),),
            levels=at.GAP_P99,
        ),
        Panel(
            "8 · Was the client too slow, or did it leave?",
            "ops",
            (
                Query(
                    rate(f"{B}viewers_closed_total", NODE, ("node", "reason")),
                    "{{node}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "9 · Was it taken over, or moved to another engine?",
            "ops",
            (
                Query(rate(f"{B}takeovers_total", NODE, ("node",)), "{{node}} taken over"),
                Query(rate(f"{B}engine_moves_total", NODE, ("node",)), "{{node}} engine moved"),
            ),
        ),
    ),
)
BOARD = Board(
    "okome-stream",
    "OKOME · One stream's life",
    "Find a job, see its hops. Put its id into the field above, and its home's node.",
    (FIND, WALK),
    (JOB, NODES),
)
