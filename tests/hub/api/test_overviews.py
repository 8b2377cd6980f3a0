"""Summaries, the audit log, and changes that are followed over server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from hub.api.resources import summaries
from hub.api.resources.changes import EVERY_S, ChangesView
from hub.base.roles import Role
from hub.health.issues import Check, Finding, error, notice, warning
from protocol.ids import AgentId, UserId
from protocol.lifecycles import RunOutcome, RunState
from storage import audit, changes
from storage.agents import agents
from storage.devices import users
from storage.schema import agents as agent_table
from storage.schema import changes as change_table
from storage.schema import items, model_calls
from tests.support.clock import START
from tests.support.hub import ServedHub, over_tcp, over_unix, serving


async def tell(hub: ServedHub, *events: str) -> None:
    """Entries of the audit log, a minute apart."""
    for event in events:
        at = hub.now_ms
        await hub.store.write(audit.append, at=at, actor="operator:4000007", event=event, subject="x")
        hub.clock.advance(60)


async def test_the_audit_log_is_reported_newest_first_page_by_page(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "a.1", "a.2", "a.3")
    first = (await client.get("/v1/audit", params={"limit": 2})).json()
    rest = (await client.get("/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [entry["event"] for entry in first["entries"] + rest["entries"]] == [
        *("a.3", "a.2", "a.1"),
        "hub.created",
    ]
    assert rest["next_cursor"] is None
    oldest = (await client.get("/v1/audit", params={"order": "oldest", "limit": 2})).json()
    asked = {"order": "oldest", "cursor": oldest["next_cursor"]}
    others = (await client.get("/v1/audit", params=asked)).json()
    assert [entry["seq"] for entry in oldest["entries"] + others["entries"]] == [1, 2, 3, 4]
    assert first["entries"][0] == {
        "seq": 4,
        "at": "2026-01-05T09:02:00Z",
        "actor": "operator:4000007",
        "event": "a.3",
        "subject": "x",
        "outcome": "done",
        "detail": {},
        "prev_hash": first["entries"][1]["hash"],
        "hash": first["entries"][0]["hash"],
        "alias": None,
        "actor_name": None,
        "subject_name": None,
        "changes": [],
    }


async def test_audit_entry_has_actor_and_subject_names_and_changed_values(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    made = await client.post("/v1/operator-tokens", json={"name": "phone", "role": "admin"})
    assert made.status_code == 201, made.text
    async with over_tcp(hub, made.json()["token"]) as phone:
        assert (await phone.patch("/v1/config", json={"values": {"limits.runs": 5}})).status_code == 200
        await phone.post("/v1/agents", json={"name": "mail", "device": "desk", "prompt": "Find."})
        edited = await phone.patch("/v1/agents/mail", json={"priority": 3, "prompt": "Look."})
        assert edited.status_code == 200, edited.text
        await phone.patch("/v1/devices/desk", json={"name": "tower"})

    async def told(event: str) -> tuple[str, str | None, list[tuple[str, ...]]]:
        entry = (await client.get("/v1/audit", params={"event": event})).json()["entries"][0]
        changes = [tuple(one.values()) for one in entry["changes"]]
        return entry["actor_name"], entry["subject_name"], sorted(changes)

    assert await told("settings.changed") == ("phone", None, [("limits.runs", "4", "5")])
    edits = [("priority", "0", "3"), ("prompt", "Find.", "Look.")]
    assert await told("agent.edited") == ("phone", "mail", edits)
    assert await told("device.renamed") == ("phone", "tower", [("name", "desk", "tower")])


async def test_audit_log_is_filtered_by_event_actor_and_time(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "token.created", "token.revoked", "run.started")

    async def asked(**params: str) -> list[str]:
        answer = await client.get("/v1/audit", params=params)
        return [entry["event"] for entry in answer.json()["entries"]]

    assert await asked(event="token.") == ["token.revoked", "token.created"]
    assert await asked(event="run.started") == ["run.started"]
    assert await asked(actor="operator:4000008") == []
    since = (START + timedelta(minutes=1)).isoformat()
    assert await asked(since=since) == ["run.started", "token.revoked"]
    assert await asked(until=since) == ["token.created", "hub.created"]


UNASKABLE = (
    {"event": "a\0b"},
    {"actor": ""},
    {"order": "random"},
    {"since": "yesterday"},
    {"since": "2026-01-01T00:00:00"},
    {"limit": "0"},
    {"cursor": "!"},
)


async def test_invalid_audit_log_filters_are_refused(client: httpx2.AsyncClient) -> None:
    answers = [await client.get("/v1/audit", params=params) for params in UNASKABLE]
    assert [one.json()["code"] for one in answers if one.status_code == 422] == ["bad_params"] * len(
        UNASKABLE
    )


async def test_audit_verification_reports_the_end_and_the_edited_entry(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    fresh = (await client.get("/v1/audit/verify")).json()
    await tell(hub, *(f"a.{n}" for n in range(502)))  # more than one transaction looks at
    well = (await client.get("/v1/audit/verify")).json()

    def tamper(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE audit_log SET actor = 'hub' WHERE seq = 502"))

    await hub.store.write(tamper)
    ill = (await client.get("/v1/audit/verify")).json()
    assert (fresh["ok"], fresh["entries"], fresh["last_seq"]) == (True, 1, 1)
    assert (well["ok"], well["entries"], well["first_seq"], well["last_seq"]) == (True, 503, 1, 503)
    assert (ill["ok"], ill["breaks"]) == (
        False,
        [{"seq": 502, "what": "entry 502 was edited: its hash does not fit what it says"}],
    )


async def test_audit_verification_checks_a_known_end_of_the_chain(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "a.1", "a.2")
    told = (await client.get("/v1/audit/verify")).json()
    known = f"{told['last_seq']}:{told['last_hash']}"
    await tell(hub, "a.3")
    assert (await client.get("/v1/audit/verify", params={"known": known})).json()["ok"]
    other = f"1:{told['last_hash']}"
    found = (await client.get("/v1/audit/verify", params={"known": other})).json()
    refused = await client.get("/v1/audit/verify", params={"known": "1:abc"})
    assert (found["ok"], found["breaks"][0]["seq"], refused.status_code) == (False, 1, 422)


def check_of(*found: Finding) -> Check:
    async def look(now: datetime) -> Iterable[Finding]:
        return found

    return look


async def test_issues_are_listed_with_explanation_and_fix(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    full = error("disk.full", "no room is left", fix="make room")
    hub.app.issues.add("test", check_of(full))
    (issue,) = (await client.get("/v1/issues")).json()["issues"]
    status = (await client.get("/v1/status")).json()
    assert issue == {
        "id": "disk.full",
        "subject": "",
        "severity": "error",
        "since": "2026-01-05T09:00:00Z",
        "explanation": "no room is left",
        "fix": "make room",
        "key": "disk.full",
        "fixes": [],
        "is_stop": False,
        "muted": None,
    }
    assert status["issues"] == {"errors": 1, "warnings": 0, "notices": 0}


async def test_token_bound_to_a_user_lists_only_issues_of_the_user(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    mine = warning("device.flapping", "hers", fix="-", subject="1", user_id=anna)
    others = warning("device.flapping", "another's", fix="-", subject="2", user_id=UserId("u-2"))
    hub.app.issues.add("test", check_of(mine, others, notice("backup.old", "the hub's", fix="-")))
    async with over_tcp(hub, await hub.token(Role.VIEWER, user_id=anna)) as client:
        hers = (await client.get("/v1/issues")).json()["issues"]
        counted = (await client.get("/v1/status")).json()["issues"]
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        everybodys = (await client.get("/v1/issues")).json()["issues"]
    assert [issue["explanation"] for issue in hers] == ["hers"]
    assert counted == {"errors": 0, "warnings": 1, "notices": 0}
    assert {issue["explanation"] for issue in everybodys} == {"hers", "another's", "the hub's"}


HOUR_MS = 3_600_000


@pytest.fixture
async def happened(hub: ServedHub) -> None:
    """Store runs, items and calls, two hours apart."""
    await hub.run("r-old", RunState.FAILED)
    hub.clock.advance(7_200)
    await hub.run("r-1", RunState.COMPLETED, outcome=RunOutcome.SUCCESS)
    await hub.run("r-2", RunState.FAILED)
    await hub.run("r-3", RunState.CANCELLED)
    await hub.store.write(fill, hub.now_ms)


def fill(c: sa.Connection, at: int) -> None:
    """Store an item of each verdict and age, and calls of models, of the agent ``notes``."""
    agent = agents.agent_called(c, "notes", None)
    old = at - 2 * HOUR_MS
    hashes = dict.fromkeys(("likeness", "quote_hash", "place_hash", "config_fingerprint"), "0")
    of = {"user_id": agent.user_id, "agent_id": agent.id}
    item = hashes | of | {"unit_key": "a.md", "target_table": "tasks", "run_id": "r-1", "updated_at": at}
    rows: list[dict[str, Any]] = [
        {"verdict": "open", "created_at": at, "verdict_at": None},
        {"verdict": "open", "created_at": old, "verdict_at": None},
        {"verdict": "approved", "created_at": old, "verdict_at": at},
        {"verdict": "edited", "created_at": at, "verdict_at": at},
        {"verdict": "rejected", "created_at": old, "verdict_at": at},
        {"verdict": "rejected", "created_at": old, "verdict_at": old},
    ]
    c.execute(
        sa.insert(items), [item | row | {"id": f"i-{n}", "call_id": f"c-{n}"} for n, row in enumerate(rows)]
    )
    call = of | {"question": "q", "model": "m", "outcome": "answered", "cost_nanos": 250_000_000}
    c.execute(
        sa.insert(model_calls), [call | {"id": f"m-{n}", "at": when} for n, when in enumerate((at, at, old))]
    )


async def summary(client: httpx2.AsyncClient, hub: ServedHub, hours: float = 1) -> Any:
    since = (hub.clock.now() - timedelta(hours=hours)).isoformat()
    return (await client.get("/v1/summary", params={"since": since})).raise_for_status().json()


@pytest.mark.usefixtures("happened")
async def test_summary_counts_runs_items_questions_and_costs_since_the_given_time(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await client.post("/v1/boards", json={"name": "garden"})
    await client.post("/v1/boards/garden/ask-user", json={"content": "Red?"})
    found = await summary(client, hub)
    assert found["runs"] == {"success": 1, "partial": 0, "failed": 1, "cancelled": 1, "waiting": 0}
    assert found["items"] == {"found": 2, "approved": 2, "rejected": 1, "waiting": 2}
    assert found["questions"] == {"asked": 1, "open": 1}
    assert found["costs"] == {"requests": 2, "usd": 0.5, "is_part": False}
    earlier = await summary(client, hub, hours=3)
    assert (earlier["runs"]["failed"], earlier["items"]["found"], earlier["items"]["rejected"]) == (
        2,
        6,
        2,
    )
    listed = (await client.get("/v1/runs", params={"outcome": "failed", "since": found["since"]})).json()
    assert [run["id"] for run in listed["runs"]] == ["r-2"], "the list that a count leads to"
    later = await summary(client, hub, hours=-1)
    assert later["runs"]["success"] == later["items"]["found"] == later["questions"]["asked"] == 0
    assert (later["items"]["waiting"], later["questions"]["open"]) == (2, 1)


@pytest.mark.usefixtures("happened")
async def test_summary_counts_only_rows_of_the_requested_user(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.store.write(users.ensure_user, UserId("u-other"), "other", 1)
    assert (await client.get("/v1/summary")).json()["runs"]["failed"] == 2, "of the last 24 hours"
    mine = (await client.get("/v1/summary", params={"user": "owner"})).json()
    others = (await client.get("/v1/summary", params={"user": "other"})).json()
    assert (mine["runs"]["failed"], mine["items"]["found"], mine["costs"]["usd"]) == (2, 6, 0.75)
    assert not any([*others["runs"].values(), *others["items"].values(), others["costs"]["usd"]])


@pytest.mark.usefixtures("happened")
async def test_summary_counts_and_costs_stop_at_a_limit(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MAX_COUNTED", 1)
    monkeypatch.setattr(summaries, "MAX_CALLS", 2)
    found = await summary(client, hub, hours=3)
    assert (found["runs"]["failed"], found["items"]["found"], found["items"]["waiting"]) == (1, 1, 1)
    assert found["costs"] == {"requests": 2, "usd": 0.5, "is_part": True}


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
        sa.update(agent_table)
        .where(sa.true() if of is None else agent_table.c.id == of)
        .values(description=text)
    )


async def test_agent_change_is_announced_to_readers_with_kind_and_id(tmp_path: Path) -> None:
    async with _served(tmp_path) as (hub, client), _following(client) as events:
        assert (await anext(events)).event == "open"
        await hub.context.store.write(_describe, "new")
        (change,) = (await anext(events)).changes
        agent = (await client.get("/v1/agents/notes")).json()
    assert (change.kind, change.id) == ("agent", agent["id"])


async def test_applied_settings_are_announced_to_readers_of_the_hub(tmp_path: Path) -> None:
    async with _served(tmp_path) as (hub, client), _following(client) as events:
        await anext(events)
        refused = await client.patch("/v1/config", json={"values": {"limits.runs": 0}})
        assert refused.status_code == 422
        assert (await client.patch("/v1/config", json={"values": {"limits.runs": 9}})).status_code == 200
        (change,) = (await anext(events)).changes
        assert (change.kind, change.id) == ("settings", hub.context.node.id)


async def test_changes_reader_with_an_outdated_position_receives_a_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _served(tmp_path) as (hub, client):
        async with _following(client) as events:
            known = (await anext(events)).id
        async with _following(client, after=known) as events:
            assert (await anext(events)).event == "open"
        monkeypatch.setattr(changes, "MAX_CHANGES", 0)
        await hub.context.store.write(_describe, "new")
        assert await hub.context.store.write(changes.prune)
        async with _following(client, after=known) as events:
            assert [(await anext(events)).event, (await anext(events)).event] == ["open", "reset"]
        async with _following(client, after="another-7") as events:
            assert (await anext(events)).event == "reset"


@pytest.mark.parametrize(("turns", "each"), [(12, 10), pytest.param(50, 200, marks=pytest.mark.soak)])
async def test_repeatedly_reconnecting_reader_receives_every_change_once(
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
