"""Issues about agents, schedules, budgets, runs and questions without progress, and after what time.

``storage.runs.failing_agents`` decides how many failed runs count.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from hub.base.clock import epoch_ms, from_epoch_ms, utc_text
from hub.base.name_lists import counted
from hub.base.roles import Scope
from hub.health.issues import Finding, Fix, Severity, error, notice, post, warning
from hub.runs.budget import Reached
from hub.runs.failures import explain
from hub.runs.sentences import describe_reason
from hub.runs.wait_sentences import describe_unmet
from protocol.ids import AgentId, DeviceId, UserId
from protocol.lifecycles import RunOutcome
from storage.agents import agents_in_trouble
from storage.agents.agents import AgentRow
from storage.coordination import questions
from storage.devices import devices
from storage.runs import failing_agents as runs_failing_agents
from storage.runs import run_needs as runs_run_needs
from storage.runs import runs
from storage.runs.failing_agents import FailingAgent
from storage.runs.run_needs import Offered
from storage.runs.runs import RunError
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import ScheduleRow
from storage.store import Store

_WHY: Final = {
    schedule_rows.FAILURES: "its runs failed again and again",
    schedule_rows.BROKEN: "it cannot be read",
}

NEEDY_FOR: Final = timedelta(minutes=5)  # a device that has just connected still registers its capabilities

_PROVIDER: Final = "see to the plan at the provider; hub agents resume {name} asks again at once"
_EXHAUSTED: Final = {  # by reason: explanation and fix
    "": ("the model's quota for agent {name} is used up", _PROVIDER),
    "rate_limit": ("a rate limit is reached for agent {name}", _PROVIDER),
    "billing": ("the bill of the model of agent {name} is not paid", _PROVIDER),
    "budget": (
        "a budget of the day is reached for agent {name}",
        "see hub costs; raise it in hub.toml, then hub agents resume {name}",
    ),
}

OVERDUE_FOR: Final = timedelta(minutes=5)  # ten thousand schedules of one minute are decided in seconds
QUESTION_PATIENCE: Final = timedelta(days=1)


async def check_schedules(store: Store, now: datetime) -> Iterable[Finding]:
    """Find schedules that the hub paused after failures, and those whose only time passed without a run."""
    stopped = await store.read(agents_in_trouble.stopped_schedules)
    return [_about_schedule(row, user_id) for row, user_id in stopped]


async def check_emptied(store: Store, now: datetime) -> Iterable[Finding]:
    """Find agents whose folders had files and have none."""
    return [
        warning(
            "folder.empty",
            f"agent {row.name} read files of {', '.join(row.paths) or 'the shared folders'} on device"
            f" {row.device_name}{'' if until is None else f' until {utc_text(until)}'}, and finds none there",
            fix="see there whether the folder was moved, or its disk is not mounted; if it is meant to be"
            " empty: hub issues ls has the KEY for hub issues mute KEY --reason TEXT",
            subject=row.id,
            user_id=row.user_id,
            since=None if until is None else from_epoch_ms(until),
        )
        for row, until in await store.read(agents_in_trouble.emptied)
    ]


async def check_overdue(store: Store, now: datetime) -> Iterable[Finding]:
    """Find schedules that are due, of which the scheduler decided nothing."""
    return [
        error(
            "schedule.overdue",
            f"{_which(row)} of agent {row.agent_name} was due at {utc_text(row.due_at)}, and did not fire",
            fix=f"hub logs --level warning has the reason; hub run {row.agent_name} starts a run now",
            subject=row.id,
            user_id=user_id,
            since=from_epoch_ms(row.due_at),
        )
        for row, user_id in await store.read(agents_in_trouble.overdue_schedules, epoch_ms(now - OVERDUE_FOR))
        if row.due_at is not None
    ]


def _about_schedule(row: ScheduleRow, user_id: UserId) -> Finding:
    if row.paused_reason == schedule_rows.FINISHED and row.at_ms is not None:
        return notice(
            "schedule.over",
            f"{_which(row)} of agent {row.agent_name} was for {utc_text(row.at_ms)}, which is over: it starts"
            " no run",
            fix=f"hub run {row.agent_name}; or give it a later time",
            subject=row.id,
            user_id=user_id,
        )
    return error(
        "schedule.paused",
        f"{_which(row)} of agent {row.agent_name} is paused: {_WHY[row.paused_reason or 'broken']}",
        fix=f"hub runs ls --agent {row.agent_name}, then hub agents resume {row.agent_name}",
        subject=row.id,
        user_id=user_id,
        fixes=_resume(row.agent_id, row.agent_name),
    )


def _resume(id: AgentId, name: str) -> tuple[Fix, ...]:
    return post("Resume the agent", f"hub agents resume {name}", f"/v1/agents/{id}/resume", Scope.RUN)


def _which(row: ScheduleRow) -> str:
    return "the schedule" if row.label is None else f"the slot {row.label!r}"


async def check_agents(
    store: Store, reached: Callable[[], Iterable[Reached]], now: datetime
) -> Iterable[Finding]:
    """Find agents that are exhausted or report a fault.

    An agent that a budget in *reached* holds is left to ``check_budgets``. Budgets reached before the last
    start of the hub are not in it.
    """
    rows = await store.read(agents_in_trouble.exhausted_or_failing)
    budgets = list(reached())
    return [found for row in rows for found in _about_agent(row, budgets)]


def _about_agent(row: AgentRow, budgets: Iterable[Reached]) -> Iterator[Finding]:
    is_reported = row.exhaust_reason == "budget" and any(budget.holds(row.id) for budget in budgets)
    if row.availability == "exhausted" and not is_reported:
        what, fix = _EXHAUSTED[row.exhaust_reason or ""]
        again = ""
        if row.recovery_at is not None:
            again = f"; it is asked again at {utc_text(row.recovery_at)}"
        yield warning(
            "agent.exhausted",
            f"{what.format(name=row.name)}, and its runs wait{again}",
            fix=fix.format(name=row.name),
            subject=row.id,
            user_id=row.user_id,
            since=None if row.exhausted_at is None else from_epoch_ms(row.exhausted_at),
            fixes=_resume(row.id, row.name),
        )
    if row.health != "ok":
        explanation = f"agent {row.name} reports a fault, so it starts no runs"
        fix = f"hub agents show {row.name} says since when, and why"
        if row.gateway is not None:
            explanation = f"agent {row.name} cannot be reached at gateway {row.gateway}"
            fix += f"; if it is no longer needed: hub agents delete {row.name}"
        yield error(
            "agent.failing",
            explanation,
            fix=fix,
            subject=row.id,
            user_id=row.user_id,
        )


async def check_failing(store: Store, now: datetime) -> Iterable[Finding]:
    """Find agents whose newest runs failed, or left out files that failed."""
    return map(about_failing, await store.read(runs_failing_agents.failing, epoch_ms(now)))


def about_failing(failing: FailingAgent) -> Finding:
    """Return the finding about an agent whose newest runs did not succeed, with the first reason."""
    agent, run = failing.agent, failing.run
    wrong = next(iter(run.lasting_errors), None)
    if wrong is None:
        wrong = RunError(
            None, run.reason or "run_failed", describe_reason(run.reason) or "it has no reason", 0
        )
    sentence, remedy = explain(wrong, run, agent.device_name or "")
    which = "its last run" if failing.count == 1 else f"its last {failing.count} runs"
    which = which if failing.alike == failing.count else f"{failing.alike} of {which}"
    about = partial(
        Finding,
        fix=remedy if "hub run " in remedy else f"{remedy}; then hub run {agent.name}",
        subject=agent.id,
        user_id=agent.user_id,
        since=from_epoch_ms(failing.since),
        fixes=post("Run it again", f"hub run {agent.name}", f"/v1/agents/{agent.id}/runs", Scope.RUN, {}),
    )
    if run.outcome is RunOutcome.ERROR:
        return about(Severity.ERROR, "agent.runs_fail", f"agent {agent.name} failed in {which}: {sentence}")
    errors = counted(run.error_count, "error")
    explanation = f"agent {agent.name} did only a part of {which}, {errors} in the last: {sentence}"
    found = about(Severity.WARNING, "agent.files_fail", explanation)
    return replace(found, fix=f"{found.fix}; or mute it: hub issues mute {found.key} --reason TEXT")


async def check_silence(
    store: Store, connected: Callable[[], Collection[DeviceId]], now: datetime
) -> Iterable[Finding]:
    """Find agents that are offline though their device is connected, or whose own heartbeats have stopped."""
    found = []
    for row in await store.read(agents_in_trouble.silent, list(connected())):
        if row.device_id is not None:
            because = f"counts as offline, though its device {row.device_name} is connected"
        elif row.last_heartbeat_at is not None:
            last = from_epoch_ms(row.last_heartbeat_at)
            because = f"is offline: it has sent no heartbeat since {last:%Y-%m-%d %H:%M} UTC"
        else:
            continue
        found.append(
            warning(
                "agent.silent",
                f"agent {row.name} {because}",
                fix=f"check its program; hub agents history {row.name} --axis connectivity has the reason",
                subject=row.id,
                user_id=row.user_id,
            )
        )
    return found


async def check_budgets(
    store: Store, reached: Callable[[], Iterable[Reached]], now: datetime
) -> Iterable[Finding]:
    """Find daily budgets that are used up, so that runs wait for the next day."""
    budgets = list(reached())
    named = [budget.agent_id for budget in budgets if budget.agent_id is not None]
    owners = {row.id: row for row in await store.read(agents_in_trouble.rows_of, named)}
    found = []
    for budget in budgets:
        agent = None if budget.agent_id is None else owners.get(budget.agent_id)
        whose = "" if agent is None else f"agent {agent.name}: "
        name = "NAME" if agent is None else agent.name
        key = budget.setting.rpartition(".")[2]
        if agent is None:
            more = f"hub config set {budget.setting}=NUMBER"
        elif agent.source == "file":
            more = f"hub config set agents.{name}.{key}=NUMBER"
        else:
            more = f"hub agents edit {name} --set {key}=NUMBER"
        until = "" if budget.until is None else f"; runs go on at {budget.until:%Y-%m-%d %H:%M} UTC"
        found.append(
            warning(
                "budget.reached",
                f"{whose}{budget.message}{until}",
                fix=f"see hub costs; raise it: {more}; then hub agents resume {name}",
                subject=budget.setting if agent is None else agent.id,
                user_id=None if agent is None else agent.user_id,
            )
        )
    return found


async def check_needs(store: Store, offered: Callable[[], Offered], now: datetime) -> Iterable[Finding]:
    """Find runs that wait for a capability that neither agent nor device offers."""
    present = offered()
    unmet = await store.read(runs_run_needs.unmet_runs, present)
    rows = await store.read(runs.find_runs, list(unmet)[:500])
    names = {row.id: row.name for row in await store.read(devices.list_devices)} if rows else {}
    long_since = epoch_ms(now - NEEDY_FOR)
    return [
        warning(
            "run.needs_unmet",
            f"runs of agent {row.agent_name} wait: one {describe_unmet(unmet[row.id], names[row.device_id])}",
            fix=f"update its device, or check its capabilities: hub agents capabilities {row.agent_name}",
            subject=row.agent_id,
            user_id=row.user_id,
        )
        # the oldest of an agent comes last and is reported
        for row in sorted(rows, key=lambda row: row.id, reverse=True)
        if row.device_id is not None and row.device_id in present and row.eligible_at <= long_since
    ]


def check_hold(held_back: Callable[[datetime], str | None], now: datetime) -> Iterable[Finding]:
    """Find work that the hub holds back after repeated crashes."""
    explanation = held_back(now)
    if explanation is None:
        return []
    fix = "see the cause: hub logs --level error; a run that you start does not wait: hub run AGENT"
    return [warning("hub.held", f"schedules are {explanation}", fix=fix)]


async def check_questions(store: Store, now: datetime) -> Iterable[Finding]:
    """Find questions that a user has not answered for more than a day."""
    return [
        notice(
            "question.waits",
            f"{_waiting(waiting.count)} for an answer of {waiting.user}"
            f" since {from_epoch_ms(waiting.since):%Y-%m-%d}",
            fix="hub ask lists them; hub ask answer QUESTION TEXT answers, hub ask withdraw takes back",
            subject=waiting.user_id,
            user_id=waiting.user_id,
            since=from_epoch_ms(waiting.since),
        )
        for waiting in await store.read(questions.waiting_since, epoch_ms(now - QUESTION_PATIENCE))
    ]


def _waiting(count: int) -> str:
    return "a question waits" if count == 1 else f"{count} questions wait"
