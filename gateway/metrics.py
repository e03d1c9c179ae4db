"""What Prometheus sees. Labels come from closed sets only: never a key id, bucket, path or address (LOG-297).

Series are looked up once and kept in plain dictionaries, because `labels()` costs more than the increment (H5).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.events import Trace
from gateway.operator_api.ports import KeyChange, OperatorAuthFailure, OperatorEvent, OperatorRequest
from gateway.s3.operation import TABLE
from gateway.sigv4.diagnose import CAUSES
from keystore.stats import CacheStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Why authentication failed; `internal_error` is for what could not be decided.
AUTH_REASONS = (
    "missing_auth malformed_header malformed_query unsupported_algorithm sigv2_rejected unknown_key revoked disabled "
    "expired_key not_yet_valid signature_mismatch payload_mismatch chunk_signature_mismatch time_skew presign_expired "
    "wrong_region unsigned_header"
).split()
DENIAL_REASONS = ("bucket_scope", "permission", "operation_disabled")
_UNDECIDED = frozenset({"key_store_unavailable", "internal_error"})
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PROPAGATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All series of one gateway process, and the observer that moves them."""

    def __init__(self, store_name: str, keys: CacheStats, ready: Callable[[], list[str]]) -> None:
        """`store_name` is the backend's kind, the only value of the label `backend`."""
        registry = CollectorRegistry(auto_describe=True)
        self._registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_KeyStoreCollector(keys, ready))
        Info("bucketwarden_build", "What is running.", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._backend = store_name
        self._keys = keys
        operation = ["operation"]
        self._requests = Counter(
            "bucketwarden_requests", "S3 requests answered.", ["operation", "code"], registry=registry
        )
        self._duration = Histogram(
            "bucketwarden_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            operation,
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._first_byte = Histogram(
            "bucketwarden_time_to_first_byte_seconds",
            "From the head of a request to the head of its answer.",
            operation,
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge("bucketwarden_requests_in_flight", "S3 requests being served.", registry=registry)
        self._bytes = Counter("bucketwarden_transferred_bytes", "Bytes of bodies.", ["direction"], registry=registry)
        self._in = self._bytes.labels("in")
        self._out = self._bytes.labels("out")
        self._disconnects = Counter(
            "bucketwarden_client_disconnects", "Clients that went away.", ["phase"], registry=registry
        )
        self._attempts = Counter(
            "bucketwarden_auth_attempts",
            "Requests by how they authenticate.",
            ["auth_type", "result"],
            registry=registry,
        )
        self._failures = Counter(
            "bucketwarden_auth_failures",
            "Requests whose authentication failed.",
            ["reason", "auth_type"],
            registry=registry,
        )
        self._mismatches = Counter(
            "bucketwarden_signature_mismatches",
            "Wrong signatures by their likely cause.",
            ["likely_cause"],
            registry=registry,
        )
        self._denials = Counter(
            "bucketwarden_authz_denials",
            "Authenticated requests that were not allowed.",
            ["reason"],
            registry=registry,
        )
        self._upstream = Counter(
            "bucketwarden_upstream_requests",
            "Answers of the backend.",
            ["backend", "code"],
            registry=registry,
        )
        self._upstream_errors = Counter(
            "bucketwarden_upstream_errors",
            "Requests that the backend did not answer, or answered by refusing our credential (auth).",
            ["backend", "reason"],
            registry=registry,
        )
        self._aborted = Counter(
            "bucketwarden_inflight_aborted",
            "Requests cut because their key was revoked.",
            ["reason"],
            registry=registry,
        )
        self._admin_requests = Counter(
            "bucketwarden_admin_requests",
            "Operator API requests.",
            ["route", "method", "code"],
            registry=registry,
        )
        self._admin_duration = Histogram(
            "bucketwarden_admin_request_duration_seconds",
            "Operator API requests.",
            ["route"],
            registry=registry,
        )
        self._admin_failures = Counter(
            "bucketwarden_admin_auth_failures",
            "Operator API requests without a valid token.",
            ["reason", "surface"],
            registry=registry,
        )
        self._changes = Counter(
            "bucketwarden_key_changes", "Changes made to keys.", ["action", "result"], registry=registry
        )
        self._propagation = Histogram(
            "bucketwarden_revocation_propagation_seconds",
            "From the commit of a change to the last gateway's acknowledgement.",
            buckets=_PROPAGATION_BUCKETS,
            registry=registry,
        )
        self._by_request: dict[tuple[str, int], Counter] = {}
        self._by_operation: dict[str, tuple[Histogram, Histogram]] = {}
        self._by_attempt: dict[tuple[str, str], Counter] = {}
        self._by_upstream: dict[int, Counter] = {}
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Known label sets exist from the start, so that a rate over the first failure is not lost."""
        for auth_type in ("header", "presigned", "chunked", "form", "anonymous"):
            for reason in AUTH_REASONS:
                self._failures.labels(reason, auth_type)
            for result in ("ok", "denied", "error"):
                self._attempts.labels(auth_type, result)
        for cause in CAUSES:
            self._mismatches.labels(cause)
        for reason in DENIAL_REASONS:
            self._denials.labels(reason)
        for reason in ("connect", "timeout", "tls", "reset", "protocol", "busy", "auth"):
            self._upstream_errors.labels(self._backend, reason)
        for operation in {row.name for row in TABLE.values()} | {"Unknown"}:
            self._operation(operation)

    def _operation(self, name: str) -> tuple[Histogram, Histogram]:
        found = self._by_operation.get(name)
        if found is None:
            found = self._by_operation[name] = (self._duration.labels(name), self._first_byte.labels(name))
        return found

    # --- events.Observer -------------------------------------------------------------------------------

    def request_started(self) -> None:
        self._in_flight.inc()

    def request_finished(self, trace: Trace) -> None:
        self._in_flight.dec()
        requests = self._by_request.get((trace.operation, trace.status))
        if requests is None:
            requests = self._requests.labels(trace.operation, str(trace.status))
            self._by_request[trace.operation, trace.status] = requests
        requests.inc()
        duration, first_byte = self._operation(trace.operation)
        duration.observe(trace.finished - trace.started)
        if trace.first_byte is not None:
            first_byte.observe(trace.first_byte - trace.started)
        if trace.bytes_in:
            self._in.inc(trace.bytes_in)
        if trace.bytes_out:
            self._out.inc(trace.bytes_out)
        self._count_authentication(trace)
        if trace.upstream_status is not None:
            upstream = self._by_upstream.get(trace.upstream_status)
            if upstream is None:
                upstream = self._upstream.labels(self._backend, str(trace.upstream_status))
                self._by_upstream[trace.upstream_status] = upstream
            upstream.inc()
        if trace.reason is not None:
            self._count_refusal(trace)
        if trace.disconnected is not None:
            self._disconnects.labels(trace.disconnected).inc()

    def _count_authentication(self, trace: Trace) -> None:
        result = "ok"
        if trace.reason in _UNDECIDED:
            result = "error"
        elif trace.reason in AUTH_REASONS:
            result = "denied"
        attempts = self._by_attempt.get((trace.auth_type, result))
        if attempts is None:
            attempts = self._by_attempt[trace.auth_type, result] = self._attempts.labels(trace.auth_type, result)
        attempts.inc()

    def _count_refusal(self, trace: Trace) -> None:
        if trace.reason in AUTH_REASONS:
            self._failures.labels(trace.reason, trace.auth_type).inc()
            if trace.likely_cause is not None:
                self._mismatches.labels(trace.likely_cause).inc()
        elif trace.reason in DENIAL_REASONS:
            self._denials.labels(trace.reason).inc()
        elif trace.reason == "backend_auth":
            self._upstream_errors.labels(self._backend, "auth").inc()
        if trace.upstream_error is not None:
            self._upstream_errors.labels(self._backend, trace.upstream_error).inc()

    def inflight_aborted(self) -> None:
        """A request was cut because its key was revoked."""
        self._aborted.labels("revoked").inc()

    # --- the operator API ------------------------------------------------------------------------------

    def operator_event(self, event: OperatorEvent) -> None:
        """Count what happened on the operator API."""
        match event:
            case OperatorRequest():
                self._admin_requests.labels(event.route, event.method, str(event.code)).inc()
                self._admin_duration.labels(event.route).observe(event.seconds)
            case OperatorAuthFailure():
                self._admin_failures.labels(event.reason, "api").inc()
            case KeyChange():
                self._changes.labels(event.action, "lagging" if event.lagging else "ok").inc()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        while self._keys.propagation_seconds:
            self._propagation.observe(self._keys.propagation_seconds.popleft())
        return generate_latest(self._registry)


class _KeyStoreCollector(Collector):
    """Reads the key store's own counts at scrape."""

    def __init__(self, stats: CacheStats, ready: Callable[[], list[str]]) -> None:
        self._stats = stats
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        lookups = CounterMetricFamily(
            "bucketwarden_key_lookups", "Questions asked of the key store.", labels=["result"]
        )
        lookups.add_metric(["hit"], stats.hits - stats.negative_hits)
        lookups.add_metric(["negative_hit"], stats.negative_hits)
        lookups.add_metric(["miss"], stats.misses)
        lookups.add_metric(["db_error"], stats.db_errors)
        yield lookups
        yield GaugeMetricFamily("bucketwarden_key_cache_entries", "Answers in the cache.", value=stats.entries)
        yield GaugeMetricFamily(
            "bucketwarden_key_events_connected",
            "1 while this gateway hears of key changes.",
            value=stats.connected,
        )
        yield GaugeMetricFamily(
            "bucketwarden_key_events_last_received_timestamp_seconds",
            "When this gateway last heard its own heartbeat through the database.",
            value=stats.last_event_unix,
        )
        yield GaugeMetricFamily(
            "bucketwarden_ready", "1 while this gateway should get traffic.", value=0 if self._ready() else 1
        )
