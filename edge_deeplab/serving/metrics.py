"""What the server counts, in Prometheus' words. One object a server: no global registry is touched.

metrics = Metrics()
metrics.answered("/v1/segment", 200, 0.012)
text = metrics.render()
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from edge_deeplab.serving.replica import Answer

PREFIX = "edge_deeplab"
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters, gauges and histograms of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.recent_seconds_each = 0.05
        """What one picture takes of a replica, the last ones weighing most."""
        self._requests = Counter(
            f"{PREFIX}_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            f"{PREFIX}_request_seconds", "From a request's header to its answer.", ["route"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            f"{PREFIX}_stage_seconds", "Of a picture in a replica: decode, wait, model, encode.", ["stage"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            f"{PREFIX}_batch_pictures", "Pictures that shared a run of the model, by input size.", ["size"],
            buckets=BATCHES, registry=registry,
        )  # fmt: skip
        self.retries = Counter(f"{PREFIX}_retries", "Pictures sent again as their replica ended.", registry=registry)
        self.running = Gauge(f"{PREFIX}_running_requests", "Requests being answered.", registry=registry)
        self.buffered = Gauge(f"{PREFIX}_buffered_bytes", "Bytes of bodies held.", registry=registry)
        self.connections = Gauge(f"{PREFIX}_connections", "Open connections.", registry=registry)
        self.replicas = Gauge(f"{PREFIX}_replicas", "Copies of the model by state.", ["state"], registry=registry)
        self.jobs = Gauge(f"{PREFIX}_video_jobs", "Videos by state.", ["state"], registry=registry)
        self.store = Gauge(f"{PREFIX}_store_bytes", "Bytes of videos and results on the disk.", registry=registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts one request. route: as declared, never the path as it came, of which there is no end."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def worked(self, answer: Answer) -> None:
        """Counts one picture that a replica answered."""
        self._batches.labels("{}x{}".format(*answer.size_hw)).observe(answer.batch)
        each_s = answer.stage_ms.get("model", 0.0) / 1e3 / answer.batch
        self.recent_seconds_each += 0.1 * (each_s - self.recent_seconds_each)
        for stage, stage_ms in answer.stage_ms.items():
            self._stages.labels(stage).observe(max(0.0, stage_ms) / 1e3)

    def render(self) -> bytes:
        """All of it as text, for a scraper."""
        return generate_latest(self._registry)
