"""All metrics of the process, by name, on a registry of their own.

The object is created once and passed to each component that counts. Counters per frame are plain integers,
and become metrics only when they are scraped; the others are prometheus-client's own. Labels have few
values, and are never ids.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.loop_meter import LoopMeter
from hub.process_metrics import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no rule of ours reads

# For each action and outcome: few, or they alone were most of what is scraped.
CALL_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
RUN_BUCKETS_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
COMMIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
LOOP_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
LAG_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
MODEL_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Durations:
    """Histogram of durations by labels, which costs one bisection per observation."""

    __slots__ = ("_buckets", "_counted")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        # Per labels: how many fell into each bucket, into none of them, and last the sum of seconds.
        self._counted: dict[tuple[str, ...], list[float]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Record a duration in *seconds*."""
        counted = self._counted.get(labels)
        if counted is None:
            counted = self._counted[labels] = [0.0] * (len(self._buckets) + 2)
        counted[bisect_left(self._buckets, seconds)] += 1
        counted[-1] += seconds

    def fill(self, family: HistogramMetricFamily) -> HistogramMetricFamily:
        """Add all observations to *family*."""
        bounds = [*map(str, self._buckets), "+Inf"]
        for labels, (*counts, seconds) in self._counted.items():
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), seconds)
        return family


class FrameTally(Collector):
    """Counters of frames, bytes and answers on the links, as plain integers of the event loop."""

    def __init__(self) -> None:
        self.received: defaultdict[str, int] = defaultdict(int)  # frames, by type
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.dropped: defaultdict[str, int] = defaultdict(int)  # by the word that says why
        self.received_bytes = 0
        self.sent_bytes = 0
        self.calls = Durations(CALL_BUCKETS_S)  # by action and outcome

    def collect(self) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "hub_frames", "Frames, by direction and type.", labels=["direction", "type"]
        )
        for direction, tally in (("in", self.received), ("out", self.sent)):
            for kind, count in tally.items():
                frames.add_metric([direction, kind], count)
        yield frames
        size = CounterMetricFamily("hub_frame_bytes", "Bytes of frames, by direction.", labels=["direction"])
        size.add_metric(["in"], self.received_bytes)
        size.add_metric(["out"], self.sent_bytes)
        yield size
        dropped = CounterMetricFamily("hub_frames_dropped", "Frames counted and dropped.", labels=["reason"])
        for reason, count in self.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        yield self.calls.fill(
            HistogramMetricFamily(
                "hub_call_duration_seconds",
                "From sending a tool_call to what settled it.",
                labels=["action", "outcome"],
            )
        )


class Followed(Collector):
    """Counter whose value is counted elsewhere as plain integers."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._count: Callable[[], int] = int

    def follow(self, count: Callable[[], int]) -> None:
        """Export the result of *count*, which never decreases."""
        self._count = count

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._documentation, value=self._count())


class Metrics:
    """Registry of all metrics of one process; each test creates its own."""

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        registry.register(ProcessCollector())
        Info("hub_build", "What is running.", registry=registry).info({"version": version})

        self.frames = FrameTally()
        registry.register(self.frames)
        self.loop = LoopMeter()
        registry.register(self.loop)
        self.connections = Gauge(
            "hub_connections", "Open device connections.", ["role", "state"], registry=registry
        )
        self.connection_attempts = Counter(
            "hub_connection_attempts", "How connecting ended.", ["result"], registry=registry
        )
        self.limits_reached = Counter(
            "hub_limits_reached", "How often a limit was reached, by its name.", ["limit"], registry=registry
        )
        self.throttled_seconds = Counter(
            "hub_throttled_seconds",
            "Seconds for which devices were not read, for they sent more than they may without being asked.",
            registry=registry,
        )
        self.auth_failures = Counter(
            "hub_auth_failures", "Hellos that were refused.", ["reason"], registry=registry
        )
        self.takeovers = Counter(
            "hub_takeovers", "Connections that a newer one of the same device replaced.", registry=registry
        )
        self.slow_consumers = Counter(
            "hub_slow_consumers", "Connections ended because the device did not read.", registry=registry
        )
        self.pending_calls = Gauge("hub_pending_calls", "Calls without an answer yet.", registry=registry)
        self.outbound_bytes = Gauge(
            "hub_outbound_queue_bytes", "Unsent bytes of all devices.", ["of"], registry=registry
        )

        self.runs = Counter("hub_runs", "Finished runs.", ["outcome"], registry=registry)
        self.runs_in_progress = Gauge("hub_runs_in_progress", "Runs that work now.", registry=registry)
        self.run_duration = Histogram(
            "hub_run_duration_seconds",
            "From handing a run out to its end.",
            buckets=RUN_BUCKETS_S,
            registry=registry,
        )
        self.run_items = Counter(
            "hub_run_items", "Items, by how their delivery ended.", ["table", "outcome"], registry=registry
        )
        self.items_known = Counter(
            "hub_items_known", "Items found again that were not sent, for they are known.", registry=registry
        )
        self.verdicts_unknown = Counter(
            "hub_verdicts_unknown",
            "Verdicts of devices on items that the ledger does not know, or in another version.",
            registry=registry,
        )
        self.agent_heartbeats = Counter(
            "hub_agent_heartbeats",
            "Agents in heartbeats, by what became of what was said of them (unchanged, news, overtaken),"
            " and what was left out (too_often, unknown_agent, unknown_status, unknown_reason,"
            " usage_too_large, usage_unreadable).",
            ["outcome"],
            registry=registry,
        )
        self.samples = Counter(
            "hub_samples",
            "Samples of measurements that devices reported, by what became of them (taken, known, refused).",
            ["outcome"],
            registry=registry,
        )
        self.review_queue = Gauge(
            "hub_review_queue_items", "Items at devices that wait for their owner's word.", registry=registry
        )
        self.fires = Counter(
            "hub_fires", "Fires of schedules, by what became of them.", ["decision"], registry=registry
        )
        self.messages = Counter(
            "hub_messages",
            "Moves of messages between agents.",
            ("kind", "state"),
            registry=registry,
        )
        self.questions = Counter(
            "hub_questions",
            "Questions to people, by what became of them (open: asked).",
            ["state"],
            registry=registry,
        )
        self.open_questions = Gauge(
            "hub_questions_waiting", "Questions to people that wait for an answer.", registry=registry
        )
        self.wakes = Counter(
            "hub_wakes",
            "Slots of agents' calendars, by what became of them.",
            ["decision"],
            registry=registry,
        )
        self.scheduler_lag = Histogram(
            "hub_scheduler_lag_seconds",
            "From when a fire was due to when its run was queued; what was caught up apart.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.llm_requests = Counter(
            "hub_llm_requests", "Requests to a model.", ["model", "outcome"], registry=registry
        )
        self.llm_request_duration = Histogram(
            "hub_llm_request_duration_seconds",
            "How long a model took to answer.",
            ["model"],
            buckets=MODEL_BUCKETS_S,
            registry=registry,
        )
        self.llm_tokens = Counter(
            "hub_llm_tokens",
            "Tokens, by model and kind (prompt, completion).",
            ["model", "kind"],
            registry=registry,
        )
        self.model_answers_known = Counter(
            "hub_model_answers_known",
            "Questions that were answered before, and were not asked again.",
            registry=registry,
        )
        self.llm_cost = Counter(
            "hub_llm_cost_usd",
            "What a model cost, where hub.toml tells its price.",
            ["model"],
            registry=registry,
        )
        self.llm_waiting = Gauge(
            "hub_llm_waiting", "Questions that wait for their turn at a model.", ["model"], registry=registry
        )
        self.llm_circuit_open = Gauge(
            "hub_llm_circuit_open",
            "Whether a model is left alone for a while, as it gave no answers or has no quota left.",
            ["model"],
            registry=registry,
        )
        self.scheduler_missed = Counter(
            "hub_scheduler_missed",
            "Fires without a run of their own, by what their schedule does about such.",
            ["policy"],
            registry=registry,
        )
        self.pairing_pending = Gauge(
            "hub_pairing_pending", "Devices that wait for an operator to approve them.", registry=registry
        )

        self.db_commits = Histogram(
            "hub_db_commit_duration_seconds",
            "From asking for a write to when it was on the disk.",
            buckets=COMMIT_BUCKETS_S,
            registry=registry,
        )
        self.db_size = Gauge("hub_db_size_bytes", "Size of the database.", registry=registry)
        self.db_wal = Gauge(
            "hub_db_wal_bytes", "Size of the write-ahead log; 0 on a server.", registry=registry
        )
        self.disk_free = Gauge(
            "hub_disk_free_bytes", "Room left on the disk of the state folder.", registry=registry
        )
        self.loop_lag = Histogram(
            "hub_event_loop_lag_seconds",
            "How much later than due the event loop came round.",
            buckets=LOOP_BUCKETS_S,
            registry=registry,
        )

        self.config_successful = Gauge(
            "hub_config_last_reload_successful",
            "Whether hub.toml could be used when it was read last.",
            registry=registry,
        )
        self.config_success_at = Gauge(
            "hub_config_last_reload_success_timestamp_seconds",
            "When hub.toml was read last and could be used.",
            registry=registry,
        )
        self.config_generation = Gauge(
            "hub_config_generation", "Number of the settings that are in use.", registry=registry
        )
        self.certificate_expiry = Gauge(
            "hub_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener expires.",
            ["listener"],
            registry=registry,
        )
        self.backup_success_at = Gauge(
            "hub_backup_last_success_timestamp_seconds",
            "When the last good backup was made; 0 when there is none.",
            registry=registry,
        )
        self.issues = Gauge(
            "hub_issues", "What a person should see to, by how bad it is.", ["severity"], registry=registry
        )
        self.service_restarts = Counter(
            "hub_service_restarts",
            "How often a service of the hub broke and was started again, by its name.",
            ["service"],
            registry=registry,
        )
        self.log_dropped = Followed(
            "hub_log_dropped", "Log entries that were never written, as nobody read the stream."
        )
        registry.register(self.log_dropped)
        self.log_suppressed = Followed(
            "hub_log_suppressed", "Log entries that were counted instead of written, as they came too often."
        )
        registry.register(self.log_suppressed)
        self.operator_refusals = Counter(
            "hub_operator_refusals",
            "Requests and connections of operators that were refused, by error code.",
            ["code"],
            registry=registry,
        )
        self.webhook_refusals = Counter(
            "hub_webhook_refusals",
            "Posts to webhooks, and connections for them, that were refused, by error code.",
            ["code"],
            registry=registry,
        )
        self.gateways = Gauge(
            "hub_gateways", "Gateways, by how their connection stands.", ["state"], registry=registry
        )
        self.soul_writes = Counter(
            "hub_soul_writes", "Writes of agents' souls, by how they ended.", ["outcome"], registry=registry
        )
        self.gateway_connections = Counter(
            "hub_gateway_connections",
            "Connections to gateways: made (ready), and how each of them and each try ended.",
            ["result"],
            registry=registry,
        )
        self.gateway_requests = Counter(
            "hub_gateway_requests", "Requests to gateways, by how they ended.", ["outcome"], registry=registry
        )
        self.gateway_event_gaps = Counter(
            "hub_gateway_event_gaps",
            "How often events of a gateway were lost, so that the hub looked anew.",
            registry=registry,
        )
        self.gateway_agents_made = Counter(
            "hub_gateway_agents_made",
            "Agents that were to be made at their gateway: made, refused by it, or put off.",
            ["outcome"],
            registry=registry,
        )
        self.broadcasts = Counter(
            "hub_broadcasts",
            "Broadcasts to leads that came to an end: all have it (sent), some (partial), or none (failed).",
            ["outcome"],
            registry=registry,
        )
        self.outbound_refused = Counter(
            "hub_outbound_refused",
            "Calls to others that a rule ended (address, too_large).",
            ["reason"],
            registry=registry,
        )

    def reached(self) -> dict[str, int]:
        """Return how often each limit was reached since the start of the process, by name."""
        (family,) = self.limits_reached.collect()
        return {sample.labels["limit"]: int(sample.value) for sample in family.samples}

    def render(self) -> bytes:
        """Return the text for /metrics."""
        return generate_latest(self.registry)
