"""Metrics for Prometheus. Only the server defines their labels, not its clients, so the number of labels is bounded."""

from __future__ import annotations

import os

from podium.types import Ranking

__all__ = ["Metrics"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # upper ends of a histogram's buckets, in seconds


class Metrics:
    """Counters and histograms of a server. Several processes share them in the folder PROMETHEUS_MULTIPROC_DIR."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        self._requests = Counter("podium_requests", "Requests answered", ("dialect", "model", "status"), registry=registry)
        self._seconds = Histogram("podium_request_seconds", "Time to a reply", ("model",), buckets=BUCKETS, registry=registry)
        self._documents = Counter("podium_documents", "Documents ranked", ("model",), registry=registry)
        self._tokens = Counter("podium_tokens", "Tokens computed or billed", ("model",), registry=registry)
        self._truncated = Counter(
            "podium_truncated_documents", "Documents longer than the model reads", ("model",), registry=registry
        )
        self._degraded = Counter(
            "podium_degraded_rankings",
            "Rankings by another model than usual, or with documents that were not scored",
            ("model",),
            registry=registry,
        )
        self.requests_in_progress = Gauge(
            "podium_requests_in_progress", "Requests in progress", registry=registry, multiprocess_mode="livesum"
        )

    def count_request(self, dialect: str, model: str, status: int, seconds: float) -> None:
        """Count an answered request, and the time of a successful one."""
        self._requests.labels(dialect, model, str(status)).inc()
        if status == 200:
            self._seconds.labels(model).observe(seconds)

    def count_ranking(self, model: str, ranking: Ranking, document_count: int) -> None:
        """Count the documents of a question, of which the ranking may have only some, and the ranking's tokens."""
        self._documents.labels(model).inc(document_count)
        self._tokens.labels(model).inc(ranking.usage.tokens or 0)
        self._truncated.labels(model).inc(ranking.usage.truncated or 0)
        self._degraded.labels(model).inc(ranking.degraded)

    def text(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus's text format, and the media type of this format."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        all_processes = CollectorRegistry()
        MultiProcessCollector(all_processes)  # type: ignore[no-untyped-call]
        return generate_latest(all_processes), CONTENT_TYPE_LATEST
