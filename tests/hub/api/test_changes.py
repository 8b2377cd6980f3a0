"""What changes, followed over server-sent events: nothing is lost, and nothing told twice."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from hub.api.nouns.overviews import EVERY_S, ChangesView
from protocol.ids import AgentId
from storage import changes
from storage.schema import agents
from storage.schema import changes as change_table
from tests.support.hub import ServedHub, over_unix, serving


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[tuple[ServedHub, httpx2.AsyncClient]]:
    """A hub whose readers of changes look again without a rest."""
    async with serving(folder) as hub, over_unix(hub) as client, anyio.create_task_group() as tasks:

        async def tick() -> None:
            while True:
                await anyio.lowlevel.checkpoint()
                hub.clock.advance(EVERY_S)

        tasks.start_soon(tick)
        yield hub, client
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _following(
    client: httpx2.AsyncClient, after: str | None = None
) -> AsyncIterator[AsyncGenerator[ChangesView]]:
    headers = {} if after is None else {"last-event-id": after}
    async with client.stream("GET", "/v1/changes", headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        async with aclosing(_events(answer)) as events:
            yield events


async def _events(answer: httpx2.Response) -> AsyncGenerator[ChangesView]:
    async with aclosing(answer.aiter_lines()) as lines:  # type: ignore[type-var]
        async for line in lines:
            if line.startswith("data: "):
                yield msgspec.json.decode(line.removeprefix("data: "), type=ChangesView)


def _describe(c: sa.Connection, text: str, *, of: AgentId | None = None) -> None:
    """Change an agent, or all of them, by a statement that no other code has."""
    c.execute(
        sa.update(agents).where(sa.true() if of is None else agents.c.id == of).values(description=text)
    )


async def test_whatever_changes_an_agent_its_readers_are_told_its_kind_and_id(tmp_path: Path) -> None:
    async with _served(tmp_path) as (hub, client), _following(client) as events:
        assert (await anext(events)).event == "open"
        await hub.context.store.write(_describe, "new")
        (change,) = (await anext(events)).changes
        agent = (await client.get("/v1/agents/notes")).json()
    assert (change.kind, change.id) == ("agent", agent["id"])


async def test_settings_that_are_applied_are_a_change_for_readers_of_the_whole_hub(tmp_path: Path) -> None:
    async with _served(tmp_path) as (hub, client), _following(client) as events:
        await anext(events)
        refused = await client.patch("/v1/config", json={"values": {"limits.runs": 0}})
        assert refused.status_code == 422
        assert (await client.patch("/v1/config", json={"values": {"limits.runs": 9}})).status_code == 200
        (change,) = (await anext(events)).changes
        assert (change.kind, change.id) == ("settings", hub.context.node.id)


async def test_a_reader_that_was_away_too_long_or_at_another_start_reads_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _served(tmp_path) as (hub, client):
        async with _following(client) as events:
            known = (await anext(events)).id
        async with _following(client, after=known) as events:
            assert (await anext(events)).event == "open"
        monkeypatch.setattr(changes, "MOST_CHANGES", 0)
        await hub.context.store.write(_describe, "new")
        assert await hub.context.store.write(changes.prune)
        async with _following(client, after=known) as events:
            assert [(await anext(events)).event, (await anext(events)).event] == ["open", "reset"]
        async with _following(client, after="another-7") as events:
            assert (await anext(events)).event == "reset"


@pytest.mark.parametrize(("turns", "each"), [(12, 10), pytest.param(50, 200, marks=pytest.mark.soak)])
async def test_reader_that_reconnects_again_and_again_receives_every_change_once(
    tmp_path: Path, turns: int, each: int
) -> None:
    told: dict[str, int] = {}

    def read(event: ChangesView) -> str:
        assert event.event != "reset"
        for change in event.changes:
            assert change.version > told.get(change.id, 0), "it is told twice"
            told[change.id] = change.version
        return event.id

    async with _served(tmp_path) as (hub, client):
        ids = [await hub.agent(f"agent-{number}") for number in range(20)]
        async with _following(client) as events:
            known = read(await anext(events))
        for turn in range(turns):
            async with _following(client, after=known) as events:
                read(await anext(events))
                for number in range(each):
                    await hub.context.store.write(_describe, "new", of=ids[(7 * number + turn) % 20])
                known = read(await anext(events))  # some of them; the connection ends before the others come
        async with _following(client, after=known) as events:
            while told != await hub.context.store.read(_versions, ids):
                read(await anext(events))
    assert len(told) == len(ids)


def _versions(c: sa.Connection, ids: list[AgentId]) -> dict[str, int]:
    is_agent = sa.and_(change_table.c.source == "agents", change_table.c.subject.in_(ids))
    rows = c.execute(sa.select(change_table).where(is_agent))
    return {row.subject: row.seq for row in rows}
