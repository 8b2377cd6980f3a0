"""The old ways, put back in: each must be seen by the laws, or these prove nothing.

``fresh_ids``: each send of a call has an id of its own, so that a device cannot know
it again. ``no_fence``: who held a run or a lease once may write for it for ever.
``no_ledger``: each source sends what it says, whatever is known of it.
``no_journal``: nobody looks whether a question was answered before.
``no_agreement``: who was restored does as if nothing had happened since.
``commit_after_send``: what is sent is written down when its answer is here.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

import msgspec
import sqlalchemy as sa

from hub.links.link import DeviceLink
from hub.links.open_link import OpenLink
from hub.runs.agreement import Agreements
from protocol.ids import CallId
from protocol.work import Answer, ToolCall
from storage.devices.leases import Term
from storage.runs import model_answers, outbox
from storage.runs.items import Decide, Decision, Known
from storage.runs.outbox import UnitPlan
from storage.runs.runs import HeldRun
from storage.store import Store
from tests.simulation.answers import name_of
from tests.simulation.world import Ways, World

P = ParamSpec("P")
T = TypeVar("T")


class NoFence:
    """A door that does not ask which fence or term somebody holds: the one of now is put in its place."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door
        self._world = world

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As it is."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Under whatever fence is the right one."""
        unfenced = cast(Callable[..., T], _Unfenced(fn, self._world))
        return await self._door.write(unfenced, *args, **kwargs)


class _Unfenced:
    """A job that gets the fences of now for those it was given. The world sees what was given."""

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
    """A door that keeps back what says that calls were planned and sent, until one of them is answered."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door
        self._kept: dict[str, list[tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {}  # by unit
        self._unit_of: dict[str, str] = {}  # by call

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As it is."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Later, if it can be said what would come of it."""
        if fn is outbox.plan_unit:
            plan = await self._door.write(_looked_at, *args, **kwargs)
            if not plan.open_calls:
                return await self._door.write(fn, *args, **kwargs)
            unit: str = kwargs["unit_key"]
            self._kept[unit] = [(fn, args, kwargs)]
            self._unit_of |= {call.call_id: unit for call in plan.open_calls}
            return plan
        if fn is outbox.mark_sent and (unit_of := self._unit_of.get(args[1][0])) in self._kept:
            self._kept[unit_of].append((fn, args, kwargs))
            return list(args[1])
        if fn is outbox.settle_call:
            await self._write_kept(self._unit_of.get(args[0], ""))
        if fn is outbox.settle_unit:
            await self._write_kept(args[1])
        return await self._door.write(fn, *args, **kwargs)

    async def _write_kept(self, unit: str) -> None:
        for fn, args, kwargs in self._kept.pop(unit, ()):
            await self._door.write(fn, *args, **kwargs)


def _looked_at(c: sa.Connection, *args: Any, **kwargs: Any) -> UnitPlan:
    """What would be planned; nothing is written."""
    with c.begin_nested() as nothing:
        plan = outbox.plan_unit(c, *args, **kwargs)
        nothing.rollback()
    return plan


class NoJournal:
    """A door behind which no question was ever answered."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self.write = door.write
        self._door = door

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As it is, but for the journal."""
        if fn is model_answers.find_answer:
            return None
        return await self._door.read(fn, *args, **kwargs)


class NoLedger:
    """A door behind which no item is known: each source sends what it says."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door

    async def read(
        self, fn: Callable[Concatenate[sa.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As it is."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Without a look at what is known, and nothing is remembered."""
        if fn is outbox.plan_unit:
            decide: Decide = kwargs["decide"]
            kwargs |= {"decide": lambda known: [_forgotten(one) for one in decide(_nothing(known))]}
        return await self._door.write(fn, *args, **kwargs)


def _nothing(known: Known) -> Known:
    return Known(finder=known.finder, here=(), elsewhere=())


def _forgotten(decision: Decision) -> Decision:
    return Decision(call=decision.call)


class FreshIds(OpenLink):
    """A link that gives each call an id of its own whenever it is sent."""

    async def call(self, frame: ToolCall) -> Answer:
        """Never the same twice."""
        return await super().call(msgspec.structs.replace(frame, id=CallId(f"fresh-{next(_fresh)}")))


_fresh = count()


class NoAgreement(Agreements):
    """A hub to which every device agrees."""

    def agrees(self, link: DeviceLink) -> bool:
        """Without a look."""
        return True


BREAKS: Final = {
    "fresh_ids": Ways(link=FreshIds, only="twice"),
    "no_ledger": Ways(door_of=NoLedger, only="twice"),
    "no_fence": Ways(door_of=NoFence, hubs=2, only="I5"),
    "no_agreement": Ways(agreements=NoAgreement, only="I6"),
    "no_journal": Ways(door_of=NoJournal, only="I14"),
    "commit_after_send": Ways(door_of=CommitAfterSend, only="outbox"),
}
