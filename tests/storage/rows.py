"""Rows for tests of storage: only what a test is about is written in the test."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from protocol.errors import HubError
from protocol.ids import AgentId, BootId, CallId, DeviceId, RunId, UserId
from protocol.lifecycles import CallEvent, RunEvent, RunOutcome, RunState
from storage.agents import agents, declared_agents
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors.connectors import Reconciled
from storage.devices import users
from storage.executing_runs import FencedRun
from storage.runs import plans, run_claims, run_moves, run_pauses, runs
from storage.runs.calls import CallAnswer, mark_sent
from storage.runs.items import Decision, PlannedCall
from storage.runs.plans import UnitPlan
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.runs.units import ledger_entries
from storage.schema import unit_ledger
from tests.support.presence import appear
from tests.support.stored import settle_calls

AT = 1_000_000
ME = UserId("me")
LAPTOP = "laptop"
BOOT, NEXT_BOOT = BootId("boot-1"), BootId("boot-2")
PROMPT_1 = "fingerprint-1"
T = TypeVar("T")


def some(value: T | None) -> T:
    """Return the value, which is not None."""
    assert value is not None
    return value


def known_units(c: sa.Connection, agent_id: AgentId, fingerprint: str) -> dict[str, str]:
    """The settled content of each unit of an agent, by key, as far as it was read with these settings."""
    keys = (
        c.execute(sa.select(unit_ledger.c.unit_key).where(unit_ledger.c.agent_id == agent_id)).scalars().all()
    )
    entries = ledger_entries(c, agent_id, fingerprint, keys)
    return {key: entry.content_hash for key, entry in entries.items() if entry.content_hash}


@contextmanager
def undone(c: sa.Connection) -> Iterator[None]:
    """Undo what the block writes, so that each case of a family begins with the same rows."""
    with c.begin_nested() as savepoint:
        yield
        savepoint.rollback()


_SEEDS: dict[object, tuple[bytes, Any]] = {}


def seeded(c: sa.Connection, build: Callable[..., T], *args: Any) -> T:
    """Return ``build(c, *args)``; a new file of the fixture ``c`` gets a copy of rows written once."""
    is_new = not (c.in_transaction() or c.info.get("is_seeded"))
    file = c.connection.driver_connection
    if not (is_new and c.get_execution_options().get("is_seedable") and isinstance(file, sqlite3.Connection)):
        return build(c, *args)
    c.info["is_seeded"] = True
    seed = (build, repr(args))
    if seed not in _SEEDS:
        built = build(c, *args)
        c.commit()
        _SEEDS[seed] = file.serialize(), built
        return built
    content, known = _SEEDS[seed]
    file.deserialize(content)
    return known  # type: ignore[no-any-return]


def declare(c: sa.Connection, *declared: DeclaredAgent, at: int = AT) -> Reconciled:
    """The declared agents of hub.toml, as they stand now. Ids tell what they are of."""
    return seeded(c, _declare, declared, at)


def _declare(c: sa.Connection, declared: Sequence[DeclaredAgent], at: int) -> Reconciled:
    user = users.ensure_user(c, ME, "me", at)
    fresh = [
        name
        for agent in declared
        for name in (
            f"agent-{agent.name}",
            f"device-{agent.device_name}",
            f"schedule-{agent.name}-{at}",
            f"user-{agent.user_name}",
        )
    ]
    return declared_agents.reconcile_declared(c, user_id=user, declared=declared, at=at, fresh_ids=fresh)


def make_agent(c: sa.Connection, name: str = "inbox", *, device: str = LAPTOP) -> AgentRow:
    """One more agent beside those that are declared already."""
    return seeded(c, _make_agent, name, device)


def _make_agent(c: sa.Connection, name: str, device: str) -> AgentRow:
    others = [
        DeclaredAgent(
            name=row.name,
            device_name=row.device_name,
            paths=row.paths,
            data_types=row.data_types,
            prompt=row.own_prompt,
        )
        for row in agents.list_agents(c)
        if row.name != name
    ]
    own = DeclaredAgent(
        name=name, device_name=device, paths=("notes",), data_types=("tasks",), prompt="Find tasks."
    )
    declare(c, *others, own)
    return agents.get_agent(c, AgentId(f"agent-{name}"))


def make_run(
    c: sa.Connection,
    run_id: str = "run-1",
    *,
    agent: AgentRow | None = None,
    state: RunState = RunState.QUEUED,
    at: int = AT,
    fingerprint: str = PROMPT_1,
) -> RunRow:
    """A run that was led into *state* by legal moves."""
    return seeded(c, _make_run, run_id, agent, state, at, fingerprint)


def _make_run(
    c: sa.Connection, run_id: str, agent: AgentRow | None, state: RunState, at: int, fingerprint: str
) -> RunRow:
    agent = agent or make_agent(c)
    run = run_moves.create_run(
        c,
        id=RunId(run_id),
        agent=agent,
        fire_key=run_id,
        at=at,
        config_fingerprint=fingerprint,
    )
    if state is RunState.QUEUED:
        return run
    if state is RunState.CANCELLED:
        return run_pauses.request_cancel(c, run.id, "not needed", at)
    assert agent.device_name is not None
    claimed = claim(c, agent.device_name, at=at)
    assert claimed is not None
    assert claimed.id == run_id
    if state is RunState.PREPARING:
        return claimed
    held = run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=at, actor="device")
    match state:
        case RunState.PAUSED:
            run_moves.move(c, held, RunEvent.DEVICE_LOST, at=at, actor="hub")
        case RunState.COMPLETED:
            run_moves.move(c, held, RunEvent.FINISHED, at=at, actor="hub", outcome=RunOutcome.SUCCESS)
        case RunState.FAILED:
            run_moves.move(c, held, RunEvent.FAILED, at=at, actor="hub", reason="broken")
    return runs.get_run(c, run.id)


def running(c: sa.Connection, run_id: str = "run-1", *, agent: AgentRow | None = None) -> FencedRun:
    """A run in RUNNING, as its holder sees it."""
    return make_run(c, run_id, agent=agent, state=RunState.RUNNING).held


def claim(
    c: sa.Connection, *online: str, at: int = AT, per_device: int = 1, total: int = 32, boot: BootId = BOOT
) -> RunRow | None:
    """Claim for the devices of these names."""
    there = frozenset(DeviceId(f"device-{name}") for name in online or (LAPTOP,))
    appear(c, there, boot)
    gates = Gates(online=there, per_device=per_device, total=total)
    claimed = run_claims.claim_runs(c, boot_id=boot, gates=gates, lease_ms=30_000, at=at, most=1)
    return claimed[0] if claimed else None


def calls(*ids: str) -> list[PlannedCall]:
    """A plan with these call ids, in order."""
    return [
        PlannedCall(
            call_id=CallId(call_id), ordinal=n, table="tasks", payload={"data": {"title": f"call {call_id}"}}
        )
        for n, call_id in enumerate(ids)
    ]


def plan(
    c: sa.Connection,
    held: FencedRun,
    unit_key: str = "a.txt",
    *,
    of: Sequence[PlannedCall] = (),
    digest: str = "sha-1",
    at: int = AT,
    notes: Mapping[str, object] | None = None,
    is_whole: bool = False,
    most_sent: int = 0,
) -> UnitPlan:
    """The plan of a unit, written: these calls, whatever the ledger of items knows."""
    unit = plans.UnitToPlan(
        held=held,
        unit_key=unit_key,
        content_hash=digest,
        size_bytes=10,
        notes=notes or {},
        found=(),
        decide=lambda known: [Decision(call=call) for call in of],
        at=at,
        is_whole=is_whole,
        most_sent=most_sent,
    )
    return plan_unit(c, unit)


def plan_unit(c: sa.Connection, unit: plans.UnitToPlan) -> UnitPlan:
    """The plan of a unit alone, or the error of its window."""
    (outcome,) = plans.plan_units(c, [unit])
    if isinstance(outcome, HubError):
        raise outcome
    return outcome


def settle_call(
    c: sa.Connection, /, call_id: str, event: CallEvent, result: object, at: int, **answer: Any
) -> bool:
    """Settle one call, or raise why nothing was written."""
    given = CallAnswer(call_id=CallId(call_id), event=event, result=result, **answer)
    (outcome,) = settle_calls(c, [given], at)
    if isinstance(outcome, HubError):
        raise outcome
    return outcome


def answer(
    c: sa.Connection, held: FencedRun, *ids: str, event: CallEvent = CallEvent.ACKED, at: int = AT
) -> None:
    """The calls are sent, and settled by *event*."""
    sent = [CallId(call_id) for call_id in ids]
    mark_sent(c, held, sent, at)
    for call_id in sent:
        settle_call(c, call_id, event, {"result": {"id": f"row-{call_id}"}}, at)
