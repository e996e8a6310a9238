"""What Prometheus is told: requests, queue, batches, where time goes, and what memory engines hold."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from braid.serve.answer import Stages

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """The figures of a server. Those named `process_` are of the front alone."""

    def __init__(self) -> None:
        disable_created_metrics()
        own = CollectorRegistry()
        self.registry = own
        ProcessCollector(registry=own)
        self.requests = Counter("braid_requests", "Requests answered.", ["route", "status"], registry=own)
        self.rejected = Counter("braid_rejected", "Requests turned away.", ["why"], registry=own)
        self.dropped = Counter("braid_dropped", "Requests that left the queue unanswered.", ["why"], registry=own)
        self.reloads = Counter("braid_reloads", "Reloads of models.", ["outcome"], registry=own)
        self.inside = Gauge("braid_requests_inside", "Requests being answered.", registry=own)
        self.queue = Gauge("braid_queue_tokens", "Tokens that wait.", registry=own)
        self.memory = Gauge(
            "braid_engine_resident_memory_bytes", "What an engine's process holds.", ["engine"], registry=own
        )
        self.batch_tokens = Histogram("braid_batch_tokens", "Tokens of a batch.", buckets=TOKENS, registry=own)
        self.batch_rows = Histogram("braid_batch_rows", "Rows of a batch.", buckets=TOKENS[:8], registry=own)
        self.batch_seconds = Histogram(
            "braid_batch_seconds", "Time of a batch in the model.", buckets=SECONDS, registry=own
        )
        self.stages = Histogram(
            "braid_stage_seconds",
            "Time of a request: read (checked, tokenised), queue, compute, tell (decoded, written).",
            ["stage"],
            buckets=SECONDS,
            registry=own,
        )
        self.latency = Histogram(
            "braid_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=own
        )

    def batch(self, tokens: int, rows: int, seconds: float) -> None:
        """A batch was computed."""
        self.batch_tokens.observe(tokens)
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def told(self, stages: Stages) -> None:
        """A request was answered."""
        for name in ("read", "queue", "compute", "tell"):
            self.stages.labels(name).observe(getattr(stages, name))

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
