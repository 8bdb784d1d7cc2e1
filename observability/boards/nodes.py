"""The machines: what node_exporter tells, and whether we are being told."""

from __future__ import annotations

from observability.boards import objectives as at
from observability.boards.model import Board, Levels, Panel, Query, Row, Unit, rate

EXPORTER = "needs node_exporter, which the cluster's nodes run"


def _panel(title: str, unit: Unit, *queries: Query, levels: Levels | None = None) -> Panel:
    return Panel(title, unit, queries, levels=levels, silent=EXPORTER, source="cluster")


TOLD = Row(
    "Are we being told?",
    (
        Panel(
            "Who answers?",
            "bool",
            (Query("min by (job, node) (up)", "{{job}} {{node}}"),),
            levels=Levels(1, 0.5),
        ),
        Panel(
            "How long does a question take?",
            "s",
            (Query("max by (job, node) (scrape_duration_seconds)", "{{job}} {{node}}"),),
            levels=Levels(1, 5),
        ),
        Panel(
            "How many figures does each send?",
            "short",
            (Query("max by (job) (scrape_samples_post_metric_relabeling)", "{{job}}"),),
            about="One that grows and grows has a label without a bound.",
        ),
        Panel(
            "How many series does Prometheus hold?",
            "short",
            (Query("max by (node) (prometheus_tsdb_head_series)", "{{node}}"),),
            levels=Levels(100_000, 500_000),
        ),
        Panel(
            "How much memory and disk does Prometheus take?",
            "bytes",
            (
                Query('process_resident_memory_bytes{job="prometheus"}', "{{node}} memory"),
                Query("prometheus_tsdb_storage_blocks_bytes", "{{node}} disk"),
            ),
        ),
        Panel(
            "Do its rules fail?",
            "ops",
            (Query(rate("prometheus_rule_evaluation_failures_total", "", ("node",)), "{{node}}"),),
            levels=Levels(0.001, 0.1),
        ),
    ),
)
MACHINES = Row(
    "The machines",
    (
        _panel(
            "How busy is each?",
            "percentunit",
            Query(
                '1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
                "{{node}}",
            ),
            levels=Levels(0.8, 0.95),
        ),
        _panel(
            "How much memory is left?",
            "percentunit",
            Query(
                "min by (node) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
                "{{node}}",
            ),
            levels=Levels(0.2, 0.08),
        ),
        _panel(
            "How much disk is left?",
            "percentunit",
            Query(
                'min by (node) (node_filesystem_avail_bytes{mountpoint="/"} / '
                'node_filesystem_size_bytes{mountpoint="/"})',
                "{{node}}",
            ),
            levels=at.DISK_LEFT,
        ),
        _panel(
            "How much goes over the network?",
            "Bps",
            Query(
                rate("node_network_transmit_bytes_total", 'device!="lo"', ("node",)), "{{node}} out"
            ),
            Query(
                rate("node_network_receive_bytes_total", 'device!="lo"', ("node",)), "{{node}} in"
            ),
        ),
        _panel(
            "Are segments sent again?",
            "ops",
            Query(rate("node_netstat_Tcp_RetransSegs", "", ("node",)), "{{node}}"),
            levels=Levels(10, 100),
        ),
        _panel(
            "Do the clocks agree?",
            "s",
            Query("max by (node) (abs(node_timex_offset_seconds))", "{{node}}"),
            levels=at.CLOCK,
        ),
        _panel(
            "For how long are certificates valid?",
            "s",
            Query(
                "min by (node, certificate) (okome_certificate_expires_timestamp_seconds) - time()",
                "{{node}} {{certificate}}",
            ),
            levels=at.CERTIFICATE,
        ),
        _panel(
            "How busy are the disks?",
            "percentunit",
            Query(
                "max by (node) (rate(node_disk_io_time_seconds_total[$__rate_interval]))",
                "{{node}}",
            ),
            levels=Levels(0.5, 0.9),
        ),
        _panel(
            "How hot are they?",
            "celsius",
            Query("max by (node) (node_thermal_zone_temp)", "{{node}}"),
            levels=Levels(75, 85),
        ),
        _panel(
            "How many files are open?",
            "short",
            Query("max by (node) (node_filefd_allocated)", "{{node}}"),
            levels=Levels(50_000, 500_000),
        ),
    ),
)
BOARD = Board("okome-nodes", "OKOME · Nodes", "Is it a machine, and are we being told?",
              (TOLD, MACHINES))  # fmt: skip
