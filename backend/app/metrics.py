"""Metrics for Prometheus. Labels are routes, reasons and pools: never anything that a client sent."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10)


class Metrics:
    """All metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Histogram(
            "backend_request_seconds",
            "Requests by route and status.",
            ["method", "route", "status"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.retries = Counter(
            "backend_database_retries_total",
            "Attempts that were repeated, by what broke the one before.",
            ["operation", "reason"],
            registry=self.registry,
        )
        self.unavailable = Counter(
            "backend_database_unavailable_total",
            "Requests that used up their retry budget.",
            ["operation"],
            registry=self.registry,
        )
        self.confirmed = Counter(
            "backend_commits_confirmed_total",
            "Ambiguous commits that turned out to be done and were confirmed by a commit of their own.",
            registry=self.registry,
        )
        self.unfinished = Gauge(
            "backend_writes_unfinished", "Writes that the database has not answered yet.", registry=self.registry
        )
        self.connects = Counter(
            "backend_database_connects_total",
            "Connections made, by pool and result.",
            ["pool", "result"],
            registry=self.registry,
        )
        self.stale = Counter(
            "backend_database_stale_connections_total",
            "Idle connections found closed when they were to be used.",
            ["pool"],
            registry=self.registry,
        )
        self.replica_reads = Counter(
            "backend_replica_reads_total",
            "Reads by where they were answered and why.",
            ["result"],
            registry=self.registry,
        )
        self.logins = Counter("backend_logins_total", "Logins by result.", ["result"], registry=self.registry)

    def watch_pools(self, stats: Callable[[], dict[str, dict[str, int]]]) -> None:
        """Export the pools' own figures, read when they are asked for."""
        self.registry.register(_PoolCollector(stats))


class _PoolCollector(Collector):
    FIGURES = ("pool_size", "pool_available", "requests_waiting")

    def __init__(self, stats: Callable[[], dict[str, dict[str, int]]]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """Read the pools."""
        stats = self._stats()
        for figure in self.FIGURES:
            family = GaugeMetricFamily(f"backend_{figure}", f"psycopg_pool: {figure}", labels=["pool"])
            for pool, values in stats.items():
                family.add_metric([pool], values.get(figure, 0))
            yield family
