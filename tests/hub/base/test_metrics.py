import os
import re
import resource
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from hub.base.metrics import Metrics, ProcessCollector
from hub.extraction.model import Finish
from hub.links.device_link import ALWAYS_ACTIONS
from protocol.codec import FROM_DEVICE, FROM_HUB
from protocol.coordination import Heartbeat
from protocol.errors import CATALOGUE, ErrorCode
from protocol.lifecycles import RunOutcome
from protocol.tables import TableName
from protocol.tool_calls import ToolCall


def told(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics, by its name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_frames_and_bytes_are_counted_by_direction_and_type() -> None:
    metrics = Metrics()
    metrics.frames.received[Heartbeat] += 2
    metrics.frames.sent[ToolCall] += 1
    metrics.frames.received_bytes += 300
    metrics.frames.dropped["unknown_run"] += 1
    samples = told(metrics)
    assert samples["hub_frames_total", "in", "heartbeat"] == 2
    assert samples["hub_frames_total", "out", "tool_call"] == 1
    assert samples["hub_frame_bytes_total", "in"] == 300
    assert samples["hub_frames_dropped_total", "unknown_run"] == 1


def test_duration_is_counted_in_every_histogram_bucket_above_the_value() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.3, 1000.0):
        metrics.frames.calls.observe(("insert", "answered"), seconds)
    name, labels = "hub_call_duration_seconds", {"action": "insert", "outcome": "answered"}
    value = metrics.registry.get_sample_value
    within = {le: value(f"{name}_bucket", labels | {"le": le}) for le in ("0.001", "0.25", "1.0", "+Inf")}
    assert (within, value(f"{name}_count", labels)) == ({"0.001": 1, "0.25": 1, "1.0": 2, "+Inf": 3}, 3)
    assert value(f"{name}_sum", labels) == 1000.301


# operations 8, OBS-2, by what they are called in a query; hub_review_queue_items has no meaning yet.
PROMISED_NAMES = """
hub_build_info hub_connections hub_connection_attempts_total hub_auth_failures_total hub_pairing_pending
hub_frames_total hub_frame_bytes_total hub_outbound_queue_bytes hub_slow_consumers_total hub_pending_calls
hub_call_duration_seconds hub_runs_total hub_runs_in_progress hub_run_duration_seconds hub_run_items_total
hub_llm_requests_total hub_llm_request_duration_seconds hub_llm_tokens_total hub_scheduler_lag_seconds
hub_scheduler_missed_total hub_db_commit_duration_seconds hub_db_size_bytes hub_db_wal_bytes
hub_disk_free_bytes hub_event_loop_lag_seconds hub_config_last_reload_successful
hub_config_last_reload_success_timestamp_seconds hub_config_generation
hub_certificate_expiry_timestamp_seconds hub_backup_last_success_timestamp_seconds hub_issues
hub_log_dropped_total hub_service_restarts_total process_cpu_seconds_total process_open_fds process_max_fds
process_resident_memory_bytes process_virtual_memory_bytes process_start_time_seconds
"""
REFUSALS = [code for code in ErrorCode if CATALOGUE[code].http_status in (400, 401, 403, 413, 421, 429, 503)]
UNITS = ("seconds", "bytes", "info", "ratio")


def test_every_documented_metric_is_exported() -> None:
    text = Metrics("1.0").render().decode()
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert set(PROMISED_NAMES.split()) - told == set()


def test_metric_names_follow_the_naming_rules_for_units_and_counters() -> None:
    text = Metrics("1.0").render().decode()
    families = re.findall(r"^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)$", text, re.MULTILINE)
    assert len(families) > 40
    for name, told, kind in families:
        assert re.fullmatch(r"(hub|process)(_[a-z]+)+", name), name
        assert told.endswith("."), f"{name}: a sentence says what it is"
        assert (kind == "counter") == name.endswith("_total"), (
            f"{name}: counters end in _total, nothing else does"
        )
        if kind == "histogram":
            assert name.endswith(UNITS), f"{name}: what is measured has a unit"
        words = name.removesuffix("_total").split("_")
        assert not set(words) & {"ms", "milliseconds", "minutes", "kb", "mb"}, f"{name}: base units only"
        assert not any(unit in words and unit not in words[-2:] for unit in UNITS), (
            f"{name}: the unit comes last"
        )


def test_metrics_have_at_most_five_hundred_series_and_no_id_labels() -> None:
    metrics = Metrics("1.0")
    frames = metrics.frames
    for frame in FROM_DEVICE:
        frames.received[frame] += 1
    for frame in FROM_HUB:
        frames.sent[frame] += 1
    for why in ("unknown_call", "unknown_run", "late_frame", "unknown_type", "not_credited"):
        frames.dropped[why] += 1
    for action in ALWAYS_ACTIONS:
        for outcome in ("answered", "refused", "timed_out", "device_gone"):
            frames.calls.observe((action, outcome), 0.1)
    for code in REFUSALS:
        metrics.connection_attempts.labels(code).inc()
        metrics.auth_failures.labels(code).inc()
    for outcome in (*RunOutcome, "cancelled"):
        metrics.runs.labels(outcome).inc()
    for table in TableName:
        for event in ("acked", "rejected", "expired"):
            metrics.run_items.labels(table, event).inc()
    for outcome in (*Finish, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_EXHAUSTED):
        metrics.llm_requests.labels("model", outcome).inc()
    metrics.llm_request_duration.labels("model").observe(1)
    series = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    assert len(series) <= 500
    assert not any(re.search(r'_id="', line) for line in series)


def test_metrics_of_two_hubs_in_a_shared_process_are_separate() -> None:
    one, other = Metrics(), Metrics()
    one.slow_consumers.inc()
    assert (told(one)["hub_slow_consumers_total",], told(other)["hub_slow_consumers_total",]) == (1, 0)


def of_process(collector: ProcessCollector) -> dict[str, float]:
    return {sample.name: sample.value for family in collector.collect() for sample in family.samples}


def test_process_metrics_report_memory_time_and_files_of_the_own_process() -> None:
    samples = of_process(ProcessCollector())
    assert samples["process_resident_memory_bytes"] > 1_000_000
    assert samples["process_virtual_memory_bytes"] >= samples["process_resident_memory_bytes"]
    assert samples["process_cpu_seconds_total"] > 0
    assert samples["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert samples["process_start_time_seconds"] > 1_500_000_000


def test_process_metric_counts_each_open_file() -> None:
    collector = ProcessCollector()
    before = of_process(collector)["process_open_fds"]
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        assert of_process(collector)["process_open_fds"] == before + 7
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_open_files_are_counted_by_directory_entries_without_a_kernel_count(tmp_path: Path) -> None:
    (tmp_path / "self" / "fd").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "self" / "fd" / str(number)).touch()
    named = len(os.listdir(tmp_path / "self" / "fd"))
    counted = of_process(ProcessCollector(tmp_path))["process_open_fds"]
    assert counted in (named - 1, os.stat(tmp_path / "self" / "fd").st_size)


def test_process_metrics_without_proc_files_are_omitted_without_error(tmp_path: Path) -> None:
    samples = of_process(ProcessCollector(tmp_path))
    assert set(samples) == {"process_cpu_seconds_total", "process_max_fds"}
