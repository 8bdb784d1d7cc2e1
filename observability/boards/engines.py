"""Engines and GPU: as brokers feel them, as they say themselves, and what the board reports."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import Board, Levels, Panel, Query, Row, jitter, quantile, rate

B, C = "okome_broker_", "okome_control_"
BY = ("engine", "model")
NO_GPU = "needs a GPU exporter on the core GPU node (okome_gpu_exporter_port)"

FELT = Row(
    "As brokers feel them",
    (
        Panel(
            "How soon does an engine begin (p95)?",
            "s",
            (
                Query(
                    quantile(0.95, f"{B}engine_time_to_first_token_seconds", "", BY),
                    "{{engine}} {{model}}",
                ),
            ),
            levels=at.ENGINE_TTFT,
            exemplars=True,
        ),
        Panel(
            "How long are its pauses (p99 of gaps)?",
            "s",
            (Query(quantile(0.99, f"{B}engine_gap_seconds", "", BY), "{{engine}} {{model}}"),),
            levels=at.GAP_P99,
            exemplars=True,
        ),
        Panel(
            "How evenly does it send (p99 − p50)?",
            "s",
            (Query(jitter(f"{B}engine_gap_seconds", "", BY), "{{engine}} {{model}}"),),
            levels=at.JITTER,
        ),
    ),
)
SEEN = Row(
    "As the control plane sees them",
    (
        Panel(
            "Which engines are up?",
            "bool",
            (Query(f"min by (engine) ({C}engine_up)", "{{engine}}"),),
            levels=Levels(1, 0.5),
        ),
        Panel(
            "Which breakers are open?",
            "short",
            (Query(f"max by (engine, model) ({C}engine_breaker)", "{{engine}} {{model}}"),),
            levels=Levels(1, 2),
            about="0 closed, 1 half open, 2 open.",
            silent="no attempt has failed",
        ),
        Panel(
            "How many jobs has each?",
            "short",
            (Query(f"sum by (engine) ({C}engine_jobs)", "{{engine}}"),),
        ),
        Panel(
            "Which attempts fail?",
            "ops",
            (
                Query(
                    rate(f"{C}engine_faults_total", "", ("engine", "fault")), "{{engine}} {{fault}}"
                ),
            ),
            silent="no attempt has failed",
        ),
        Panel(
            "Why was an engine chosen?",
            "ops",
            (
                Query(
                    rate(f"{C}placements_total", "", ("engine", "reason")), "{{engine}} {{reason}}"
                ),
            ),
        ),
        Panel(
            "What became of jobs too many?",
            "ops",
            (Query(rate(f"{C}overload_total", "", ("model", "step")), "{{model}} {{step}}"),),
            silent="there was no overload",
        ),
    ),
)
SAID = Row(
    "As they say themselves",
    (
        Panel(
            "How many requests run there?",
            "short",
            (Query("vllm:num_requests_running or llamacpp:requests_processing", "{{engine}}"),),
        ),
        Panel(
            "How many requests wait there?",
            "short",
            (Query("vllm:num_requests_waiting or llamacpp:requests_deferred", "{{engine}}"),),
            levels=at.QUEUE,
        ),
        Panel(
            "How many tokens a second does it make?",
            "ops",
            (
                Query(
                    "rate(vllm:generation_tokens_total[$__rate_interval]) or "
                    "rate(llamacpp:tokens_predicted_total[$__rate_interval])",
                    "{{engine}}",
                ),
            ),
        ),
        Panel(
            "How much of its memory for contexts is taken?",
            "percentunit",
            (Query("vllm:kv_cache_usage_perc", "{{engine}}"),),
            levels=Levels(0.85, 0.97),
            silent="llama.cpp does not tell",
            source="cluster",
        ),
        Panel(
            "Which share of prompts does its prefix cache know?",
            "percentunit",
            (
                Query(
                    "rate(vllm:prefix_cache_hits_total[$__rate_interval]) / "
                    "(rate(vllm:prefix_cache_queries_total[$__rate_interval]) > 0)",
                    "{{engine}}",
                ),
            ),
            silent="llama.cpp does not tell",
            source="cluster",
        ),
        Panel(
            "Does it throw requests out for want of memory?",
            "ops",
            (Query("rate(vllm:num_preemptions_total[$__rate_interval])", "{{engine}}"),),
            levels=Levels(0.1, 1),
            silent="llama.cpp does not tell",
            source="cluster",
        ),
    ),
)
GPU = Row(
    "The GPU",
    (
        Panel(
            "How busy is it?",
            "percentunit",
            (Query("DCGM_FI_DEV_GPU_UTIL / 100", "{{node}} {{gpu}}"),),
            silent=NO_GPU,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How much of its memory is taken?",
            "percentunit",
            (
                Query(
                    "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
                    "{{node}} {{gpu}}",
                ),
            ),
            levels=Levels(0.9, 0.98),
            silent=NO_GPU,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How hot is it?",
            "celsius",
            (Query("DCGM_FI_DEV_GPU_TEMP", "{{node}} {{gpu}}"),),
            levels=Levels(80, 88),
            silent=NO_GPU,
            source="cluster",
            wide=6,
        ),
        Panel(
            "How much power does it draw?",
            "watt",
            (Query("DCGM_FI_DEV_POWER_USAGE", "{{node}} {{gpu}}"),),
            silent=NO_GPU,
            source="cluster",
            wide=6,
        ),
    ),
)
BOARD = Board("okome-engines", "OKOME · Engines and GPU", "Is it the engine?",
              (FELT, SEEN, SAID, GPU))  # fmt: skip
