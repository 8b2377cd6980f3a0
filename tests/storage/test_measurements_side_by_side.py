"""Several hubs on one PostgreSQL database that measure the same agents at the same time."""

from functools import partial

import anyio
import sqlalchemy as sa

from protocol.coordination import MetricType
from protocol.lifecycles import RunState
from storage.agents import measurements
from storage.agents.measurements import HOUR_MS, BucketRetention, SampleRow, SeriesLimits, Sketch
from storage.kernel.database import Database
from storage.schema import items, metric_series
from tests.storage.rows import AT, make_agent, make_run
from tests.support.filling import fill

KEPT = BucketRetention(minutes_from=0, hours_from=0)
HUBS, WRITERS, REPORTS = 4, 4, 4


async def test_samples_that_hubs_add_to_one_bucket_at_the_same_time_all_count(hubs: list[Database]) -> None:
    agents = [await hubs[0].write(make_agent, name) for name in ("one", "two")]
    samples = [
        SampleRow(agent_id=agent.id, name="load", type=MetricType.HISTOGRAM, value=value, at=AT)
        for agent in agents
        for value in (1, 2, 3)
    ]
    report = partial(
        measurements.report, scope="desk", digest="d", at=AT, retention=KEPT, limits=SeriesLimits()
    )

    async def work(hub: Database, writer: int) -> None:
        mine = samples if writer % 2 else samples[::-1]
        for n in range(REPORTS):
            await hub.write(report, mine, report_id=f"{writer}-{n}")
            await hub.write(report, mine, report_id=f"{writer}-{n}")  # its answer was lost

    async with anyio.create_task_group() as writers:
        for writer in range(WRITERS):
            writers.start_soon(work, hubs[writer % len(hubs)], writer)
    for agent in agents:
        (series,) = await hubs[0].read(measurements.list_series, agent.id)
        (hour,) = await hubs[0].read(
            measurements.list_buckets,
            [series.id],
            size_ms=HOUR_MS,
            since=0,
            until=AT + HOUR_MS,
            with_sketches=True,
        )
        assert (hour.n, hour.sum, hour.sketch) == (
            WRITERS * REPORTS * 3,
            WRITERS * REPORTS * 6,
            Sketch.of([1, 2, 3] * WRITERS * REPORTS).document(),
        )


async def test_each_run_and_verdict_is_measured_by_one_hub(hubs: list[Database]) -> None:
    agents = [await hubs[0].write(make_agent, f"agent-{n}") for n in range(len(hubs))]

    def end(c: sa.Connection) -> None:
        for n in range(16):
            make_run(c, f"run-{n}", agent=agents[n % len(agents)], state=RunState.CANCELLED)

    def decide(c: sa.Connection) -> None:
        fill(c, {"users": 1, "devices": 1, "agents": 1, "items": 12})
        for n, id in enumerate(c.execute(sa.select(items.c.id)).scalars().all()):
            at = AT - measurements.SETTLED_MS - n
            c.execute(sa.update(items).where(items.c.id == id).values(verdict="approved", verdict_at=at))

    measured: list[int] = []

    async def work(hub: Database) -> None:
        while await hub.read(measurements.has_unmeasured, at=AT, retention=KEPT):
            measured.append((await hub.write(measurements.measure, at=AT, retention=KEPT, most=3)).rows)

    for happen in (decide, end):
        await hubs[0].write(happen)
        async with anyio.create_task_group() as workers:
            for hub in hubs:
                workers.start_soon(work, hub)
    assert sum(measured) == 12 + 16
    sums = {}
    for owner in (agents[0].id, None):
        for series in await hubs[0].read(measurements.list_series, owner):
            (hour,) = await hubs[0].read(
                measurements.list_buckets, [series.id], size_ms=HOUR_MS, since=0, until=AT + HOUR_MS
            )
            sums[owner, series.name] = hour.sum
    assert sums == {(agents[0].id, "hub.runs"): 4, (None, "hub.runs"): 16, (None, "hub.verdicts"): 12}


async def test_a_series_that_begins_again_while_it_is_pruned_is_not_lost(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    sample = partial(SampleRow, agent_id=agent.id, name="load", value=1)
    record = partial(measurements.record, at=AT, retention=KEPT)
    await hubs[0].write(record, [sample(at=AT)])
    await hubs[0].write(measurements.prune_buckets, size_ms=HOUR_MS, before=AT + 2 * HOUR_MS)
    await hubs[0].write(measurements.prune_buckets, size_ms=60_000, before=AT + 2 * HOUR_MS)
    later = AT + 3 * HOUR_MS
    async with anyio.create_task_group() as both:
        both.start_soon(partial(hubs[0].write, measurements.prune_series, before=AT + HOUR_MS))
        both.start_soon(hubs[1].write, record, [sample(at=later)])
    (series,) = await hubs[0].read(measurements.list_series, agent.id)
    assert (series.last_at, series.last) == (later, 1)
    count = sa.select(sa.func.count()).select_from(metric_series)
    assert await hubs[0].read(lambda c: c.execute(count).scalar_one()) == 1
