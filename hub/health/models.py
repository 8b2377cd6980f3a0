"""Checks of the models: unreachable endpoints, open circuit breakers, and runs that wait for a model."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import anyio

from hub.clock import from_epoch_ms
from hub.extraction.breaker import Breaker, Circuit
from hub.health.issues import Check, Finding, error, warning
from storage.runs import runs
from storage.store import Store

Reach = Callable[[], Awaitable[str | None]]  # returns the problem of an endpoint, or None


def check_reach(endpoints: Mapping[str, Reach]) -> Check:
    """Return the check that contacts the endpoints of all models concurrently, keyed by model name."""

    async def look(now: datetime) -> Iterable[Finding]:
        wrong: dict[str, str] = {}

        async def ask(name: str, reach: Reach) -> None:
            if (told := await reach()) is not None:
                wrong[name] = told

        async with anyio.create_task_group() as asking:
            for name, reach in endpoints.items():
                asking.start_soon(ask, name, reach)
        return [
            error(
                "model.unreachable",
                f"the model {name} was asked at {now:%H:%M} UTC: {wrong[name]}",
                fix="see to the endpoint, and to its table in hub.toml; rules go on without it",
                subject=name,
            )
            for name in endpoints
            if name in wrong
        ]

    return look


def check_circuits(breakers: Mapping[str, Breaker]) -> Check:
    """Return the check for models whose circuit breaker is open after failures or an exhausted quota."""

    async def look(now: datetime) -> Iterable[Finding]:
        answering = [name for name, breaker in breakers.items() if breaker.circuit is Circuit.CLOSED]
        meanwhile = f"{answering[0]} is asked instead" if answering else "no document is read by a model"
        return [
            warning(
                "model.left_alone",
                f"{breaker.error}; {_again(breaker, now)}, and until then {meanwhile}",
                fix="hub doctor --online asks it whether it answers",
                subject=name,
            )
            for name, breaker in breakers.items()
            if breaker.error is not None
        ]

    return look


def _again(breaker: Breaker, now: datetime) -> str:
    if breaker.circuit is Circuit.HALF_OPEN:
        return "the next document finds out whether it is over"
    return f"it is asked again after {now + timedelta(seconds=breaker.wait_s):%H:%M:%S} UTC"


class Away(Protocol):
    """Callable that returns why no model is asked, or None while one is. See ``ModelGates.away``."""

    def __call__(self, *, allow_cloud: bool) -> str | None: ...


def check_waiting_runs(store: Store, away: Away) -> Check:
    """Return the check for runs that wait for a model that does not answer."""

    async def look(now: datetime) -> Iterable[Finding]:
        found = []
        for waits in await store.read(runs.model_waits):
            which = "model" if waits.allow_cloud else "model of agents without the cloud"
            why = away(allow_cloud=waits.allow_cloud) or "it is asked again now"
            many = "1 run waits" if waits.count == 1 else f"{waits.count} runs wait"
            found.append(
                warning(
                    "model.away",
                    f"{many} for the {which}, which gives no answers: {why}",
                    fix="hub doctor --online asks its endpoint what is wrong; hub runs lists what waits,"
                    " and that goes on by itself once the model answers",
                    subject="" if waits.allow_cloud else "without the cloud",
                    since=from_epoch_ms(waits.since),
                )
            )
        return found

    return look
