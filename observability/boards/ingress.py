"""The ingress: HAProxy's own figures."""

from __future__ import annotations

from observability.boards.model import Board, Levels, Panel, Query, Row, rate

PUBLIC = 'proxy="public"'
TRAFFIC = Row(
    "Do clients get in?",
    (
        Panel(
            "How many connections are open?",
            "short",
            (Query(f"sum by (node) (haproxy_frontend_current_sessions{{{PUBLIC}}})", "{{node}}"),),
        ),
        Panel(
            "How do answers end (by class)?",
            "ops",
            (Query(rate("haproxy_frontend_http_responses_total", PUBLIC, ("code",)), "{{code}}"),),
        ),
        Panel(
            "How many requests are denied, and how many broken?",
            "ops",
            (
                Query(rate("haproxy_frontend_requests_denied_total", PUBLIC), "denied"),
                Query(rate("haproxy_frontend_request_errors_total", PUBLIC), "broken"),
            ),
            levels=Levels(1, 10),
        ),
        Panel(
            "How many bytes go out?",
            "Bps",
            (Query(rate("haproxy_frontend_bytes_out_total", PUBLIC, ("node",)), "{{node}}"),),
        ),
        Panel(
            "How idle is each HAProxy?",
            "percentunit",
            (Query("min by (node) (haproxy_process_idle_time_percent) / 100", "{{node}}"),),
            levels=Levels(0.5, 0.2),
        ),
        Panel(
            "Who has the VIP?",
            "ops",
            (Query(rate("haproxy_frontend_sessions_total", PUBLIC, ("node",)), "{{node}}"),),
            about="The node that takes connections.",
        ),
    ),
)
SERVERS = Row(
    "Where do they go?",
    (
        Panel(
            "Which servers are up, as HAProxy sees them?",
            "short",
            (Query("min by (proxy) (haproxy_backend_active_servers)", "{{proxy}}"),),
        ),
        Panel(
            "How are streams spread over the brokers?",
            "short",
            (
                Query(
                    'sum by (server) (haproxy_server_current_sessions{proxy!="control"})',
                    "{{server}}",
                ),
            ),
        ),
        Panel(
            "How long until an answer begins (mean of the last 1,024)?",
            "s",
            (
                Query(
                    "max by (proxy, server) (haproxy_server_response_time_average_seconds)",
                    "{{proxy}} {{server}}",
                ),
            ),
            levels=Levels(0.1, 1),
        ),
        Panel(
            "Which servers fail their checks?",
            "ops",
            (Query(rate("haproxy_server_check_failures_total", "", ("server",)), "{{server}}"),),
            levels=Levels(0.01, 0.5),
        ),
        Panel(
            "Does HAProxy queue?",
            "short",
            (Query("sum by (proxy) (haproxy_backend_current_queue)", "{{proxy}}"),),
            levels=Levels(1, 50),
        ),
        Panel(
            "How often are requests tried again, or elsewhere?",
            "ops",
            (
                Query(
                    rate("haproxy_backend_retry_warnings_total", "", ("proxy",)), "{{proxy}} again"
                ),
                Query(
                    rate("haproxy_backend_redispatch_warnings_total", "", ("proxy",)),
                    "{{proxy}} elsewhere",
                ),
            ),
            levels=Levels(0.1, 5),
        ),
    ),
)
BOARD = Board("okome-ingress", "OKOME · Ingress", "Do clients get in, and where do they go?",
              (TRAFFIC, SERVERS))  # fmt: skip
