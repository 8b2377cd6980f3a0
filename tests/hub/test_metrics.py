import re

from prometheus_client.parser import text_string_to_metric_families

from hub.metrics import Metrics


def told(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics, by its name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_frames_and_bytes_are_counted_by_direction_and_type() -> None:
    metrics = Metrics()
    metrics.frames.received["heartbeat"] += 2
    metrics.frames.sent["tool_call"] += 1
    metrics.frames.received_bytes += 300
    metrics.frames.dropped["unknown_run"] += 1
    samples = told(metrics)
    assert samples["hub_frames_total", "in", "heartbeat"] == 2
    assert samples["hub_frames_total", "out", "tool_call"] == 1
    assert samples["hub_frame_bytes_total", "in"] == 300
    assert samples["hub_frames_dropped_total", "unknown_run"] == 1


def test_a_duration_falls_into_every_bucket_it_fits() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.3, 1000.0):
        metrics.frames.calls.observe(("insert", "answered"), seconds)
    name, labels = "hub_call_duration_seconds", {"action": "insert", "outcome": "answered"}
    value = metrics.registry.get_sample_value
    within = {le: value(f"{name}_bucket", labels | {"le": le}) for le in ("0.001", "0.25", "0.5", "+Inf")}
    assert within == {"0.001": 1, "0.25": 1, "0.5": 2, "+Inf": 3}
    assert value(f"{name}_count", labels) == 3
    assert value(f"{name}_sum", labels) == 1000.301


def test_every_metric_is_named_after_what_it_counts_and_its_unit() -> None:
    families = [
        family
        for family in text_string_to_metric_families(Metrics("1.0").render().decode())
        if family.name.startswith("hub_")
    ]
    assert len(families) > 15
    for family in families:
        assert re.fullmatch(r"hub_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_two_hubs_in_one_process_do_not_count_together() -> None:
    one, other = Metrics(), Metrics()
    one.slow_consumers.inc()
    assert told(one)["hub_slow_consumers_total",] == 1
    assert told(other)["hub_slow_consumers_total",] == 0
