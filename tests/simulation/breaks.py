"""Known faults, installed on purpose: a law must report each of them.

``fresh_ids``: each send of a call has a new id, so that a device cannot recognize a repetition.
``no_fence``: a former holder of a run or lease may still write.
``no_ledger``: each source sends all its items, even known ones.
``no_journal``: the journal of answered questions is ignored.
``no_agreement``: a restored hub or device continues without reconciliation.
``commit_after_send``: a call is stored only after it was answered.
``no_eviction``: a hub does not learn that another one has its device now.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

import msgspec
import sqlalchemy as sa

from hub.links.link import DeviceLink
from hub.links.open_link import OpenLink
from hub.runs.agreement import Agreements
from protocol.errors import DeliveryError
from protocol.ids import CallId
from protocol.work import Answer, ToolCall
from storage.devices import sessions
from storage.devices.nodes import Term
from storage.runs import calls, model_calls, plans, units
from storage.runs.items import Decide, Decision, Known
from storage.runs.plans import UnitPlan
from storage.runs.runs import HeldRun
from storage.store import Store
from tests.simulation.answers import name_of
from tests.simulation.world import Ways, World

P = ParamSpec("P")
T = TypeVar("T")


class NoFence:
    """Door that replaces the fence or term of each write by the current one."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door
        self._world = world

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the query without a change."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the job with the current fence."""
        unfenced = cast(Callable[..., T], _Unfenced(fn, self._world))
        return await self._door.write(unfenced, *args, **kwargs)


class _Unfenced:
    """Job that uses the current fences; the trace shows the original arguments."""

    def __init__(self, fn: Callable[..., Any], world: World) -> None:
        self.__name__ = name_of(fn)
        self._fn = fn
        self._world = world

    def __call__(self, c: sa.Connection, *args: Any, **kwargs: Any) -> Any:
        return self._fn(
            c, *map(self._renewed, args), **{name: self._renewed(value) for name, value in kwargs.items()}
        )

    def _renewed(self, given: Any) -> Any:
        disk = self._world.disk
        match given:
            case HeldRun():
                row = disk.one("SELECT fence, state FROM runs WHERE id = ?", given.id)
                return given if row is None else HeldRun(given.id, type(given.state)(row[1]), row[0])
            case Term():
                row = disk.one("SELECT holder_boot_id, fence FROM leases WHERE name = ?", given.name)
                return given if row is None else Term(given.name, row[0], row[1])
        return given


class CommitAfterSend:
    """Door that delays the writes of planned and sent calls until one of the calls is answered."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door
        self._kept: dict[str, list[tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {}  # by unit
        self._unit_of: dict[str, str] = {}  # by call

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the query without a change."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Delay the job if its result can be predicted."""
        if fn is plans.plan_unit:
            plan: UnitPlan = await self._door.write(_undone, fn, *args, **kwargs)
            if not plan.open_calls:
                return await self._door.write(fn, *args, **kwargs)
            unit: str = kwargs["unit_key"]
            self._kept[unit] = [(fn, args, kwargs)]
            self._unit_of |= {call.call_id: unit for call in plan.open_calls}
            return plan
        if fn is calls.mark_sent and (unit_of := self._unit_of.get(args[1][0])) in self._kept:
            self._kept[unit_of].append((fn, args, kwargs))
            return list(args[1])
        if fn is calls.settle_calls:
            for answer in args[0]:
                await self._write_kept(self._unit_of.get(answer.call_id, ""))
        if fn is units.settle_unit:
            await self._write_kept(args[1])
        return await self._door.write(fn, *args, **kwargs)

    async def _write_kept(self, unit: str) -> None:
        for fn, args, kwargs in self._kept.pop(unit, ()):
            await self._door.write(fn, *args, **kwargs)


class NoJournal:
    """Door that hides the journal of answered questions."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self.write = door.write
        self._door = door

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query, and return nothing for the journal."""
        if fn is model_calls.find_answer:
            return None
        return await self._door.read(fn, *args, **kwargs)


class NoLedger:
    """Door that hides known items, so that each source sends all its items."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the query without a change."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job without known items, and do not store the items."""
        if fn is plans.plan_unit:
            decide: Decide = kwargs["decide"]
            kwargs |= {"decide": lambda known: [_forgotten(one) for one in decide(_nothing(known))]}
        return await self._door.write(fn, *args, **kwargs)


class NoEviction:
    """Door that hides that another hub has a device."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self.write = door.write
        self._door = door

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query, and return nothing for connections elsewhere."""
        if fn is sessions.taken_from:
            return []
        if fn is sessions.apart:
            return [], []
        return await self._door.read(fn, *args, **kwargs)


def _undone(c: sa.Connection, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return the result of a job without writing it."""
    with c.begin_nested() as nothing:
        result = fn(c, *args, **kwargs)
        nothing.rollback()
    return result


def _nothing(known: Known) -> Known:
    return Known(finder=known.finder, here=(), elsewhere=())


def _forgotten(decision: Decision) -> Decision:
    return Decision(call=decision.call)


class FreshIds(OpenLink):
    """Link that gives each call a new id at each send."""

    async def call(self, frame: ToolCall) -> Answer:
        """Send the call with a new id."""
        return await super().call(msgspec.structs.replace(frame, id=CallId(f"fresh-{next(_fresh)}")))

    async def call_many(self, frames: Sequence[ToolCall]) -> list[Answer | DeliveryError]:
        """Send the calls with new ids."""
        fresh = [msgspec.structs.replace(one, id=CallId(f"fresh-{next(_fresh)}")) for one in frames]
        return await super().call_many(fresh)


_fresh = count()


class NoAgreement(Agreements):
    """Reconciliation that treats every device as reconciled."""

    def agrees(self, link: DeviceLink) -> bool:
        """Return True without a check."""
        return True


BREAKS: Final = {
    "fresh_ids": Ways(link=FreshIds, only="twice"),
    "no_ledger": Ways(door_of=NoLedger, only="twice"),
    "no_fence": Ways(door_of=NoFence, hubs=2, only="I5"),
    "no_agreement": Ways(agreements=NoAgreement, only="I6"),
    "no_journal": Ways(door_of=NoJournal, only="I14"),
    "commit_after_send": Ways(door_of=CommitAfterSend, only="outbox"),
    "no_eviction": Ways(door_of=NoEviction, hubs=3, only="one owner"),
}
