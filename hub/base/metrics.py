"""Prometheus metrics of the process: names, labels and buckets.

The object is created once and passed to each component that counts. Counters per frame are plain integers,
and become metrics only when they are scraped; the others are prometheus-client's own. Labels have few
values, and are never ids.
"""

import mmap
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Final

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.base.loop_meter import LoopMeter
from protocol.errors import HubError

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no rule of ours reads

# For each action and outcome: few, or they alone were most of what is scraped.
CALL_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
RUN_BUCKETS_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
COMMIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
LOOP_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
LAG_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
MODEL_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

PAGE_BYTES: Final = mmap.PAGESIZE
STARTTIME: Final = 21  # of the fields of /proc/PID/stat, proc(5), counted from 0
AFTER_NAME: Final = 2  # as many of them end with the name, which may have spaces in it


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


def value_of(gauge: Gauge) -> float:
    """Return the value of a gauge without labels."""
    (family,) = gauge.collect()
    return family.samples[0].value


class FrameTally(Collector):
    """Counters of frames, bytes and answers on the links, as plain integers of the event loop."""

    def __init__(self) -> None:
        self.received: defaultdict[type[Struct], int] = defaultdict(int)
        self.sent: defaultdict[type[Struct], int] = defaultdict(int)
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
                frames.add_metric([direction, str(kind.__struct_config__.tag)], count)
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
                "Time from sending a tool_call to its result or failure.",
                labels=["action", "outcome"],
            )
        )


class FollowedCounter(Collector):
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


class FollowedGauge(Collector):
    """Gauge by labels whose values are known elsewhere; labels without a value have no series."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._family = partial(GaugeMetricFamily, name, documentation, labels=labels)
        self._values: Callable[[], Mapping[tuple[str, ...], float]] = dict

    def follow(self, values: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Export the results of *values*, by the values of the labels."""
        self._values = values

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for labels, value in self._values().items():
            family.add_metric(labels, value)
        yield family


class ProcessCollector(Collector):
    """Collector of process_*: memory, CPU time, file descriptors and start; unknown values are omitted.

    Names and units are those of Prometheus' own clients.

    Args:
        proc: folder of the kernel about this process, see proc(5).
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._self = proc / "self"
        self._started = _started(proc)

    @staticmethod
    def cpu_s() -> float:
        """Return the CPU time spent, in seconds."""
        import resource  # imported here, and below: Windows has none

        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def memory_bytes(self) -> tuple[int, int]:
        """Return the virtual and the resident memory.

        Raises:
            OSError, ValueError: this kernel has no such file.
        """
        virtual, resident = (self._self / "statm").read_text().split()[:2]
        return int(virtual) * PAGE_BYTES, int(resident) * PAGE_BYTES

    def collect(self) -> Iterator[Metric]:
        import resource

        cpu = "User and system CPU time spent, in seconds."
        yield CounterMetricFamily("process_cpu_seconds", cpu, value=self.cpu_s())
        with suppress(OSError, ValueError):
            virtual, resident = self.memory_bytes()
            yield _gauge("process_virtual_memory_bytes", "Virtual memory.", virtual)
            yield _gauge("process_resident_memory_bytes", "Resident memory.", resident)
        with suppress(OSError):
            yield _gauge("process_open_fds", "Open file descriptors.", self._open_fds())
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield _gauge("process_max_fds", "As many file descriptors may be open.", most)
        if self._started is not None:
            documentation = "When the process started, in seconds since 1970."
            yield _gauge("process_start_time_seconds", documentation, self._started)

    def _open_fds(self) -> int:
        # Since Linux 6.2 the size of the directory is the number of descriptors; before, it is 0.
        folder = self._self / "fd"
        return os.stat(folder).st_size or len(os.listdir(folder)) - 1  # the listing's own is among them


def _started(proc: Path) -> float | None:
    """Return when this process started, in epoch seconds."""
    with suppress(OSError, ValueError, IndexError):
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[STARTTIME - AFTER_NAME])
        for line in (proc / "stat").read_text().splitlines():
            if line.startswith("btime "):
                return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return None


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


class Metrics:
    """Registry of all metrics of one process; each test creates its own."""

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.process = ProcessCollector()
        registry.register(self.process)
        Info("hub_build", "Version of the running hub.", registry=registry).info({"version": version})

        self.frames = FrameTally()
        registry.register(self.frames)
        self.loop = LoopMeter()
        registry.register(self.loop)
        self.connections = gauge("hub_connections", "Open device connections.", ["role", "state"])
        self.connection_attempts = counter(
            "hub_connection_attempts", "Connection attempts, by result.", ["result"]
        )
        self.limits_reached = counter("hub_limits_reached", "Times a limit was reached, by name.", ["limit"])
        self.throttled_seconds = counter(
            "hub_throttled_seconds",
            "Seconds for which devices were not read because they exceeded their rate.",
        )
        self.auth_failures = counter("hub_auth_failures", "Refused hellos.", ["reason"])
        self.takeovers = counter("hub_takeovers", "Connections replaced by a newer one of the same device.")
        self.slow_consumers = counter(
            "hub_slow_consumers", "Connections ended because the device did not read."
        )
        self.pending_calls = gauge("hub_pending_calls", "Calls that wait for an answer.")
        self.outbound_bytes = gauge("hub_outbound_queue_bytes", "Unsent bytes of all devices.", ["of"])

        self.runs = counter("hub_runs", "Finished runs.", ["outcome"])
        self.runs_in_progress = gauge("hub_runs_in_progress", "Runs in progress.")
        self.run_duration = histogram(
            "hub_run_duration_seconds", "Time from a run's start to its end.", buckets=RUN_BUCKETS_S
        )
        self.run_items = counter("hub_run_items", "Items, by result of their delivery.", ["table", "outcome"])
        self.items_known = counter("hub_items_known", "Items found again and not sent, as they are known.")
        self.verdicts_unknown = counter(
            "hub_verdicts_unknown", "Verdicts of devices on unknown items or other versions of items."
        )
        self.agent_heartbeats = counter(
            "hub_agent_heartbeats",
            "Agents in heartbeats: their reports (unchanged, news, overtaken), and ignored parts (too_often,"
            " unknown_agent, unknown_status, unknown_reason, usage_too_large, usage_unreadable).",
            ["outcome"],
        )
        self.samples = counter(
            "hub_samples",
            "Samples of measurements from devices, by result (taken, known, refused).",
            ["outcome"],
        )
        self.review_queue = gauge(
            "hub_review_queue_items", "Items at devices that wait for review, 1,000 or more as 1,000."
        )
        self.fires = counter("hub_fires", "Fires of schedules, by decision.", ["decision"])
        self.messages = counter(
            "hub_messages", "Messages between agents, by kind and state entered.", ["kind", "state"]
        )
        self.questions = counter(
            "hub_questions", "Questions to people, by state entered (open: asked).", ["state"]
        )
        self.open_questions = gauge("hub_questions_waiting", "Questions to people that wait for an answer.")
        self.wakes = counter("hub_wakes", "Slots of agents' calendars, by decision.", ["decision"])
        self.scheduler_lag = histogram(
            "hub_scheduler_lag_seconds",
            "Time from a fire's due time to its run being queued, without fires that were caught up.",
            buckets=LAG_BUCKETS_S,
        )
        self.llm_requests = counter("hub_llm_requests", "Requests to a model.", ["model", "outcome"])
        self.llm_request_duration = histogram(
            "hub_llm_request_duration_seconds",
            "Duration of requests to a model.",
            ["model"],
            buckets=MODEL_BUCKETS_S,
        )
        self.llm_tokens = counter(
            "hub_llm_tokens", "Tokens, by model and kind (prompt, completion).", ["model", "kind"]
        )
        self.model_answers_known = counter(
            "hub_model_answers_known", "Requests answered from stored answers of a model."
        )
        self.spans = counter(
            "hub_spans", "Spans of runs for [traces] otlp: taken by its receiver (sent), or not.", ["result"]
        )
        self.deliveries = counter(
            "hub_deliveries",
            "Events sent to targets of [[notify]], by kind and outcome (delivered, later, refused, gone).",
            ["kind", "outcome"],
        )
        self.llm_cost = counter("hub_llm_cost_usd", "Cost of a model whose price is in hub.toml.", ["model"])
        self.llm_waiting = gauge("hub_llm_waiting", "Requests that wait for a model.", ["model"])
        self.llm_circuit_open = gauge(
            "hub_llm_circuit_open",
            "1 while requests to a model are suspended after failures or an exhausted quota.",
            ["model"],
        )
        self.scheduler_missed = counter(
            "hub_scheduler_missed", "Missed fires, by the policy of their schedule.", ["policy"]
        )
        self.clock_steps = counter("hub_clock_steps", "Steps of the hub's clock.", ["direction"])
        self.pairing_pending = gauge("hub_pairing_pending", "Devices that wait for approval.")

        self.db_commits = histogram(
            "hub_db_commit_duration_seconds",
            "Time from a write request to its commit on the disk.",
            buckets=COMMIT_BUCKETS_S,
        )
        self.db_size = gauge("hub_db_size_bytes", "Size of the database.")
        self.db_wal = gauge("hub_db_wal_bytes", "Size of the write-ahead log; 0 on a server.")
        self.disk_free = gauge("hub_disk_free_bytes", "Free bytes on the disk of the state folder.")
        self.loop_lag = histogram(
            "hub_event_loop_lag_seconds", "Delay of the event loop's timers.", buckets=LOOP_BUCKETS_S
        )

        self.config_successful = gauge(
            "hub_config_last_reload_successful", "1 if the last reload of hub.toml succeeded."
        )
        self.config_success_at = gauge(
            "hub_config_last_reload_success_timestamp_seconds",
            "Time of the last successful reload of hub.toml.",
        )
        self.config_generation = gauge("hub_config_generation", "Generation of the settings in use.")
        self.certificate_expiry = gauge(
            "hub_certificate_expiry_timestamp_seconds", "Expiry of a listener's certificate.", ["listener"]
        )
        self.backup_success_at = gauge(
            "hub_backup_last_success_timestamp_seconds", "Time of the last good backup; 0 without one."
        )
        self.issues = FollowedGauge(
            "hub_issues", "Open issues that are not muted, by id and severity.", ["id", "severity"]
        )
        registry.register(self.issues)
        self.service_restarts = counter(
            "hub_service_restarts", "Restarts of failed services of the hub, by name.", ["service"]
        )
        self.log_dropped = FollowedCounter(
            "hub_log_dropped", "Log entries dropped because the stream was not read."
        )
        registry.register(self.log_dropped)
        self.log_suppressed = FollowedCounter(
            "hub_log_suppressed", "Repeated log entries that were counted instead of written."
        )
        registry.register(self.log_suppressed)
        self.operator_refusals = counter(
            "hub_operator_refusals", "Refused requests and connections of operators, by error code.", ["code"]
        )
        self.webhook_refusals = counter(
            "hub_webhook_refusals", "Refused posts and connections to webhooks, by error code.", ["code"]
        )
        self.gateways = gauge("hub_gateways", "Gateways, by state of their connection.", ["gateway", "state"])
        self.soul_writes = counter("hub_soul_writes", "Writes of agents' souls, by outcome.", ["outcome"])
        self.gateway_connections = counter(
            "hub_gateway_connections",
            "Connections to gateways: established (ready), and the end of each connection or attempt.",
            ["result"],
        )
        self.gateway_requests = counter(
            "hub_gateway_requests", "Requests to gateways, by outcome.", ["outcome"]
        )
        self.gateway_event_gaps = counter(
            "hub_gateway_event_gaps", "Gaps in the events of gateways; the hub polls after each."
        )
        self.gateway_agents_made = counter(
            "hub_gateway_agents_made", "Creations of agents at gateways, by outcome.", ["outcome"]
        )
        self.broadcasts = counter(
            "hub_broadcasts",
            "Finished broadcasts, received by all leads (sent), some (partial) or none (failed).",
            ["outcome"],
        )
        self.outbound_refused = counter(
            "hub_outbound_refused", "Outbound requests refused by a rule (address, too_large).", ["reason"]
        )

    @contextmanager
    def count_limits(self) -> Iterator[None]:
        """Count the limit named by an error of the block."""
        try:
            yield
        except HubError as error:
            if error.limit is not None:
                self.limits_reached.labels(error.limit).inc()
            raise

    def reached(self) -> dict[str, int]:
        """Return how often each limit was reached since the start of the process, by name."""
        (family,) = self.limits_reached.collect()
        return {sample.labels["limit"]: int(sample.value) for sample in family.samples}

    def render(self) -> bytes:
        """Return the text for /metrics."""
        return generate_latest(self.registry)
