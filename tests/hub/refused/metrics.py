"""Refused at measurements."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest


def report(**about: Any) -> Device:
    """A report whose second sample is like that."""
    good = {"agent_id": "notes", "name": "known", "value": 1}
    return Device("metrics.report", {"samples": [good, good | about]})


KNOWN = {"agent_id": "notes", "name": "known", "type": "counter", "value": 1}
AS_MANY_AS_MAY_BE = [KNOWN | {"tags": {"kind": str(n)}} for n in range(49)]
GIVEN = (
    Device("metrics.report", {"report_id": "r-1", "samples": [KNOWN]}),
    Device("metrics.report", {"samples": AS_MANY_AS_MAY_BE}),
)
CHART = "/v1/agents/notes/metrics/known"

ROWS = (
    Refused(
        "by-a-tag-that-no-series-has",
        Rest("GET", f"{CHART}?by=mood"),
        "unknown_metric",
        ("by: 'known' has no tag 'mood'; its tags: kind",),
    ),
    Refused("a-report-of-nothing", Device("metrics.report"), "bad_params", ("samples",)),
    Refused(
        "too-many-samples",
        Device("metrics.report", {"samples": [KNOWN] * 501}),
        "bad_params",
        ("samples: expected a list, at most 500 long, not 501",),
    ),
    Refused(
        "a-value-that-is-text",
        report(value="7"),
        "bad_params",
        ("samples[1].value: expected a number, not text",),
    ),
    Refused("a-value-that-is-too-large", report(value=1e200), "bad_params", ("samples[1].value", "1e+100")),
    Refused("a-name-with-a-blank", report(name="my load"), "bad_params", ("samples[1].name", "my load")),
    Refused("a-name-of-the-hub", report(name="hub.runs"), "bad_params", ("samples[1].name", "hub.")),
    Refused(
        "a-type-nobody-knows",
        report(type="timer"),
        "bad_params",
        ("samples[1].type: expected one of counter, gauge, histogram, not 'timer'",),
    ),
    Refused(
        "another-type-than-before",
        report(type="gauge"),
        "bad_params",
        ("samples[1].type", "is a counter", "another name"),
    ),
    Refused("a-counter-that-falls", report(value=-1), "bad_params", ("samples[1].value", "below 0")),
    Refused(
        "a-tag-that-is-a-number",
        report(tags={"a": 1}),
        "bad_params",
        ("samples[1].tags[...]: expected text, not a whole number",),
    ),
    Refused("a-tag-of-control-characters", report(tags={"a": "\x07"}), "bad_params", ("samples[1].tags.a",)),
    Refused(
        "a-sample-of-the-future", report(at_ms=9_000_000_000_000), "bad_params", ("samples[1].at_ms", "clock")
    ),
    Refused(
        "a-sample-too-old", report(at_ms=1), "bad_params", ("samples[1].at_ms", "90 days", "leave it out")
    ),
    Refused(
        "a-sample-of-another-device",
        report(agent_id="phone-notes"),
        "unknown_agent",
        ("samples[1].agent_id", "phone-notes"),
    ),
    Refused(
        "a-report-id-used-for-something-else",
        Device("metrics.report", {"report_id": "r-1", "samples": [KNOWN | {"value": 2}]}),
        "key_used",
        ("r-1",),
    ),
    Refused(
        "more-series-than-an-agent-may-have",
        report(tags={"kind": "b"}),
        "too_many_series",
        ("samples[1]", 'known{"kind":"b"}', "metric_series_per_agent"),
    ),
    Refused(
        "a-metric-nobody-measured",
        Device("metrics.query", {"agent_id": "notes", "name": "nothing"}),
        "unknown_metric",
        ("nothing", "hub agents metrics"),
    ),
    Refused("a-query-without-an-agent", Device("metrics.query"), "bad_params", ("agent_id",)),
    Refused(
        "a-query-of-another-device",
        Device("metrics.query", {"agent_id": "phone-notes"}),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "a-percentile-of-a-counter", Rest("GET", f"{CHART}?agg=p95"), "bad_params", ("counter", "sum, rate")
    ),
    Refused("a-step-of-seconds", Rest("GET", f"{CHART}?step_s=10"), "bad_params", ("step", "whole minutes")),
    Refused(
        "a-range-that-ends-before-it-begins",
        Rest("GET", f"{CHART}?since=2026-01-05T09:00:00Z&until=2026-01-05T08:00:00Z"),
        "bad_params",
        ("since", "2026-01-05T08:00:00Z"),
    ),
    Refused(
        "a-range-of-the-future", Rest("GET", f"{CHART}?until=9999-12-31T23:59:59Z"), "bad_params", ("until",)
    ),
    Refused("a-tag-without-a-value", Rest("GET", f"{CHART}?tag=kind"), "bad_params", ("tag", "name=value")),
    Refused(
        "a-tag-nobody-has",
        Rest("GET", f"{CHART}?tag=kind%3Dx"),
        "unknown_metric",
        ("kind=x", "kind=0, kind=1, kind=10", "and 29 more"),
    ),
    Refused(
        "more-points-than-an-answer-has",
        Rest("GET", f"{CHART}?since=2020-01-01T00:00:00Z&until=2020-12-31T00:00:00Z&step_s=3600"),
        "limit_reached",
        ("8760 points", "metric_points", "step of 5 h"),
    ),
)
