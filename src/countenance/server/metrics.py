"""`GET /metrics` in Prometheus' text format.

Labels name operations and error codes only: never an account, a key or a collection.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from countenance import __version__
from countenance.assembly import Assembled
from countenance.errors import Error
from countenance.pipeline import Outcome
from countenance.store.leases import nodes

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a listing (about a millisecond) to a queue of large photographs."""

_log = logging.getLogger(__name__)


class _StoreCollector(Collector):
    """Figures that the store is asked for. While it does not answer they are missing from the page, and all others are
    there: calls that fail are counted nowhere else."""

    def collect(self) -> Iterator[Metric]:
        try:
            yield from list(self.told())
        except Error as error:
            _log.warning("figures of the store are not among the metrics: %s", error)

    @abstractmethod
    def told(self) -> Iterator[Metric]:
        """The figures. Raises Error."""


class _GalleryCollector(_StoreCollector):
    """Reads the gallery's figures when asked, so that they are never stale."""

    def __init__(self, assembled: Assembled) -> None:
        self._assembled = assembled

    def told(self) -> Iterator[Metric]:
        stats = self._assembled.gallery.stats()
        yield GaugeMetricFamily("countenance_collections", "Collections.", value=stats.collections)
        yield GaugeMetricFamily("countenance_faces_enrolled", "References stored.", value=stats.references)
        yield GaugeMetricFamily(
            "countenance_index_rows", "References loaded into memory for searching.", value=stats.loaded_references
        )
        yield GaugeMetricFamily("countenance_index_bytes", "Memory the search indexes take.", value=stats.index_bytes)


class _FollowingCollector(_StoreCollector):
    """Whether other nodes have what this one has not, and how far this one's indexes are behind what is stored."""

    def __init__(self, assembled: Assembled) -> None:
        self._gallery = assembled.gallery

    def told(self) -> Iterator[Metric]:
        holding, is_covered = self._gallery.holding(), self._gallery.is_covered()
        yield GaugeMetricFamily(
            "countenance_index_behind_revisions",
            "Stored changes of collections that are not in this node's loaded indexes yet.",
            value=holding.behind,
        )
        yield GaugeMetricFamily(
            "countenance_index_following",
            "Whether this node hears of other nodes' changes by itself (0 where there are none).",
            value=int(holding.is_listening),
        )
        yield GaugeMetricFamily(
            "countenance_parts_covered", "Whether live nodes have every part of the collections.", value=int(is_covered)
        )


class _SamplesCollector(_StoreCollector):
    """How full the store of samples is: when it is full, searches that match are refused."""

    def __init__(self, assembled: Assembled) -> None:
        self._samples = assembled.register.samples

    def told(self) -> Iterator[Metric]:
        totals = self._samples.totals()
        yield GaugeMetricFamily("countenance_samples", "Images kept of searches that matched.", value=totals.samples)
        yield GaugeMetricFamily("countenance_sample_bytes", "Bytes of the kept images.", value=totals.bytes)
        yield GaugeMetricFamily(
            "countenance_sample_bytes_limit", "The setting sample_max_bytes.", value=self._samples.max_bytes
        )


class _NodesCollector(_StoreCollector):
    """How many processes share the store, and whether this one has duties that only one may have."""

    def __init__(self, assembled: Assembled) -> None:
        self._register = assembled.register

    def told(self) -> Iterator[Metric]:
        database = self._register.database
        yield GaugeMetricFamily(
            "countenance_nodes",
            "Processes that share the store and said so lately.",
            value=len(nodes(database)) if database.is_shared else 1,
        )
        yield GaugeMetricFamily(
            "countenance_upkeep",
            "Whether this process publishes checkpoints and does what else only one may do.",
            value=int(self._register.presence.upkeep.is_held()),
        )


class Metrics:
    """The registry of one server; several may live in one process (tests do)."""

    def __init__(self, assembled: Assembled) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "countenance_calls",
            "Calls answered, by operation and by outcome (OK or the error's code).",
            ["operation", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "countenance_call_seconds",
            "Time from the last byte of a request to its answer.",
            ["operation"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self.in_flight = Gauge("countenance_calls_in_flight", "Calls being worked on.", registry=self._registry)
        self._refused = Counter(
            "countenance_requests_refused",
            "Requests that never became a call (too large, too slow, wrong method), by HTTP status.",
            ["status"],
            registry=self._registry,
        )
        info = Info("countenance_build", "Versions in use.", registry=self._registry)
        info.info({"version": __version__, "face_model": assembled.service.engine.model_version})
        self._registry.register(_GalleryCollector(assembled))
        self._registry.register(_FollowingCollector(assembled))
        self._registry.register(_SamplesCollector(assembled))
        self._registry.register(_NodesCollector(assembled))

    def observe(self, outcome: Outcome) -> None:
        """Counts one call."""
        operation = outcome.operation or "none"
        self._calls.labels(operation, outcome.code).inc()
        self._seconds.labels(operation).observe(outcome.seconds)

    def refuse(self, status: int) -> None:
        """Counts one request that never became a call."""
        self._refused.labels(str(status)).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
