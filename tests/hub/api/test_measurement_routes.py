"""Measurements, over the REST interface."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from hub.api.resources.measurements import HubSeriesResource
from hub.base.clock import epoch_ms
from protocol.coordination import MetricType
from protocol.ids import AgentId, UserId
from protocol.lifecycles import RunState
from storage.agents import declared_agents, measurements
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.measurements import BucketRetention, SampleRow
from storage.devices import users
from tests.support.clock import START
from tests.support.hub import ServedHub

NOW = epoch_ms(START)
MINUTE_MS = 60_000


def keep(c: sa.Connection) -> None:
    """An agent called inbox that answered in 1 to 100 ms, and one of somebody else that nobody measured."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    users.ensure_user(c, UserId("u-anna"), "anna", 1)
    declared = [
        DeclaredAgent(name="inbox", device_name="lab"),
        DeclaredAgent(name="letters", device_name="phone", user_name="anna"),
    ]
    fresh = [f"{kind}-{agent.name}" for agent in declared for kind in "adsu"]
    declared_agents.reconcile_declared(c, user_id=owner, declared=declared, at=1, fresh_ids=fresh)
    samples = [
        SampleRow(
            agent_id=AgentId("a-inbox"),
            name="latency_ms",
            type=MetricType.HISTOGRAM,
            value=n,
            at=NOW - n * MINUTE_MS,
            tags={"model": "small" if n % 2 else "large"},
        )
        for n in range(1, 101)
    ]
    samples.append(SampleRow(agent_id=AgentId("a-inbox"), name="open", value=7, at=NOW - 1))
    measurements.record(c, samples, at=NOW, retention=BucketRetention(minutes_from=0, hours_from=0))


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the measurements."""
    await hub.store.write(keep)


async def told(client: httpx2.AsyncClient, metric: str = "", **asked: Any) -> Any:
    path = "/v1/agents/inbox/metrics" + (f"/{metric}" if metric else "")
    return (await client.get(path, params=asked)).raise_for_status().json()


async def test_the_series_of_an_agent_are_listed_page_by_page(client: httpx2.AsyncClient) -> None:
    first = await told(client, limit=2)
    rest = await told(client, limit=2, cursor=first["next_cursor"])
    listed = [
        (row["name"], row["type"], row["tags"], row["last"]) for row in first["series"] + rest["series"]
    ]
    assert listed == [
        ("latency_ms", "histogram", {"model": "large"}, 2),
        ("latency_ms", "histogram", {"model": "small"}, 1),
        ("open", "gauge", {}, 7),
    ]
    assert rest["next_cursor"] is None


async def test_metric_chart_contains_empty_steps(
    client: httpx2.AsyncClient,
) -> None:
    chart = await told(client, "latency_ms", agg="count", step_s=3600)
    assert (chart["agent"], chart["step_s"], chart["bucket_s"], chart["error"]) == ("inbox", 3600, 3600, None)
    assert chart["until"] == "2026-01-05T09:00:00Z"
    (line,) = chart["lines"]
    assert [point["value"] for point in line["points"][-3:]] == [None, 40, 60]
    assert (len(line["points"]), line["points"][0]["n"], line["whole"]) == (24, 0, 100)


async def test_percentiles_of_the_values_of_a_tag_are_separate(client: httpx2.AsyncClient) -> None:
    chart = await told(client, "latency_ms", agg="p90", by="model", since="2026-01-05T07:00:00Z")
    whole = {line["tag"]: line["whole"] for line in chart["lines"]}
    assert whole == {"large": pytest.approx(90, rel=0.01), "small": pytest.approx(89, rel=0.01)}
    assert 0 < chart["error"] < 0.01


async def test_metric_series_are_filtered_by_tag(client: httpx2.AsyncClient) -> None:
    chart = await told(client, "latency_ms", agg="count", tag="model=small")
    assert chart["lines"][0]["whole"] == 50


async def test_agent_without_measurements_has_no_series_and_no_metric(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/agents/letters/metrics")).json()["series"] == []
    refused = await client.get("/v1/agents/letters/metrics/latency_ms")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_metric")


def keep_of_many_models(c: sa.Connection) -> None:
    samples = [
        SampleRow(agent_id=None, name="hub.model_requests", value=n, at=NOW, tags={"model": f"model-{n}"})
        for n in range(75)
    ]
    measurements.record(c, samples, at=NOW, retention=BucketRetention(minutes_from=0, hours_from=0))


async def test_hub_series_report_sums_of_runs_and_the_load_of_nodes(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    measured = hub.resource(HubSeriesResource)._measurements
    hub.clock.advance(1)
    await measured.measure_node()
    for n in range(2):
        await hub.run(f"r-{n}", RunState.CANCELLED)
    await measured.measure_work()

    async def asked(**params: Any) -> tuple[list[dict[str, Any]], str | None]:
        body = (await client.get("/v1/metrics/series", params=params)).raise_for_status().json()
        return body["series"], body["next_cursor"]

    everything, _ = await asked(step_s=3600)
    series = {one["name"]: one for one in everything}
    assert sorted(series) == [
        *("hub.node_calls", "hub.node_devices", "hub.node_lag_seconds", "hub.node_memory_bytes"),
        "hub.runs",
    ]
    runs = series["hub.runs"]
    assert (runs["tags"], runs["node"], runs["whole"]) == ({"outcome": "cancelled"}, None, 2)
    assert (runs["step_s"], len(runs["values"]), runs["values"][-2:]) == (3600, 25, [None, 2])
    devices, lag = series["hub.node_devices"], series["hub.node_lag_seconds"]
    assert (devices["agg"], devices["values"][-1], lag["agg"]) == ("avg", 1, "max")
    (node,) = (await client.get("/v1/nodes")).json()["nodes"]
    assert devices["node"] == (node["name"] or node["id"])

    first, cursor = await asked(limit=2)
    rest, _ = await asked(cursor=cursor)
    assert [one["name"] for one in first + rest] == [one["name"] for one in everything]
    assert {one["step_s"] for one in first} == {3600}, "of a day"
    assert (await asked(name="hub.runs", since="2026-01-05T05:00:00Z"))[0][0]["step_s"] == 300

    await hub.store.write(keep_of_many_models)
    page, cursor = await asked(since="2026-01-04T09:00:00Z", step_s=900)
    assert (len(page), len(page[0]["values"])) == (60, 97), "a day by the minute is not too much"
    assert len((await asked(since="2026-01-04T09:00:00Z", step_s=900, cursor=cursor))[0]) == 75 + 5 - 60

    refusals: tuple[tuple[dict[str, Any], str], ...] = (
        ({"step_s": 90}, "whole steps of 5 minutes; not 90 s"),
        ({"since": "2025-11-01T00:00:00Z", "step_s": 3600}, "more than the 744 of one answer"),
        ({"since": "2026-02-01T00:00:00Z"}, "since: expected a time before until"),
    )
    for params, says in refusals:
        refused = await client.get("/v1/metrics/series", params=params)
        assert refused.status_code >= 400
        assert says in refused.text
