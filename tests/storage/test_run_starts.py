"""Runs that somebody starts: so many may wait, and the next is refused before anything is written."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import RunId
from storage.agents.agents import AgentRow
from storage.runs import run_claims, run_moves, run_pauses, runs
from storage.runs.run_claims import WaitingLimits
from storage.runs.runs import RunRow
from tests.storage.rows import AT, claim, make_agent
from tests.support.coded import coded

LIMITS = WaitingLimits(waiting_manual_runs=2, waiting_manual_runs_per_device=3)


def start(c: sa.Connection, agent: AgentRow, key: str, *, trigger: str = "manual") -> RunRow:
    return run_claims.start_run(
        c,
        agent=agent,
        fire_key=key,
        limits=LIMITS,
        id=RunId(f"run-{agent.name}-{key}"),
        at=AT,
        config_fingerprint="",
        trigger_kind=trigger,
    )


def test_the_waiting_runs_of_an_agent_are_limited(c: sa.Connection, agent: AgentRow) -> None:
    start(c, agent, "a")
    start(c, agent, "b", trigger="rerun")
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.LIMIT_REACHED),
        match=r"2 runs of 'inbox' wait.*waiting_manual_runs.*cancel some",
    ) as caught:
        start(c, agent, "c")
    assert (caught.value.code, caught.value.limit) == (ErrorCode.LIMIT_REACHED, "waiting_manual_runs")
    assert runs.find_run(c, RunId("run-inbox-c")) is None


def test_of_one_device_so_many_runs_wait_and_another_device_has_its_own(c: sa.Connection) -> None:
    first, second = make_agent(c), make_agent(c, "outbox")
    for agent, key in ((first, "a"), (first, "b"), (second, "a")):
        start(c, agent, key)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)) as caught:
        start(c, second, "b")
    assert caught.value.limit == "waiting_manual_runs_per_device"
    assert start(c, make_agent(c, "elsewhere", device="desktop"), "a").id == "run-elsewhere-a"


def test_a_run_that_is_known_by_its_key_is_answered_however_many_wait(
    c: sa.Connection, agent: AgentRow
) -> None:
    known = start(c, agent, "a")
    start(c, agent, "b")
    assert start(c, agent, "a") == known


def test_what_schedules_fired_and_what_has_begun_or_ended_does_not_count(
    c: sa.Connection, agent: AgentRow
) -> None:
    for n in range(3):
        run_pauses.request_cancel(c, start(c, agent, f"gone-{n}").id, "not needed", AT)
    start(c, agent, "a")
    start(c, agent, "b")
    assert claim(c) is not None
    for n in range(3):
        id = RunId(f"run-fired-{n}")
        run_moves.create_run(
            c, id=id, agent=agent, fire_key=id, at=AT, config_fingerprint="", trigger_kind="schedule"
        )
    start(c, agent, "c")
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED)):
        start(c, agent, "d")
