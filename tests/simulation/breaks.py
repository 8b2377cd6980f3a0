"""Known faults, installed on purpose: a law must report each of them.

``fresh_ids``: each send of a call has a new id, so that a device cannot recognize a repetition.
``no_fence``: a former holder of a run or lease may still write.
``no_ledger``: each source sends all its items, even known ones.
``no_journal``: the journal of answered questions is ignored.
``no_agreement``: a restored hub or device continues without reconciliation.
``commit_after_send``: a call is stored only after it was answered.
``no_judging``: a step of the clock leaves what is stored as it was.
``no_eviction``: a hub does not learn that another one has its device now.
``settled_when_sent``: a verdict counts as applied once it was sent, whether its device answers or not.
``no_claim_guard``: a claim takes the runs that it chose, even those that another hub has claimed meanwhile.
``no_holder_fence``: the holder of a run writes although the run has moved to another hub with its device.
``no_agreement_fence``: a hub writes which rows a device has although another hub has the device now.

The last three need a pause at one place, in which another hub gets the device: pauses at random rarely meet
it.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any, Final, ParamSpec, TypeVar

import anyio
import msgspec
import sqlalchemy as sa

from hub.links.connection import OpenLink
from hub.links.device_link import DeviceLink
from hub.runs.agreement import Agreements
from protocol.calls import RowState
from protocol.errors import DeliveryError, HubError
from protocol.ids import CallId, RunId
from protocol.tool_calls import Answer, ToolCall
from storage.effects import clock_steps, sessions
from storage.executing_runs import FencedRun
from storage.leases import Term
from storage.runs import agreement, calls, item_verdicts, model_answers, plans, run_claims, units
from storage.runs.item_verdicts import DueVerdict, GivenVerdict, VerdictAnswer
from storage.runs.items import Decide, Decision, KnownItems
from storage.runs.plans import UnitPlan, UnitToPlan
from storage.schema import runs
from storage.store import Store
from tests.simulation.answers import name_of
from tests.simulation.facts import EXECUTING
from tests.simulation.world import LATE_S, Ways, World

P = ParamSpec("P")
T = TypeVar("T")


class _Passing:
    """Door that passes each job on."""

    def __init__(self, door: Store, world: World) -> None:
        self.is_shared = door.is_shared
        self._door = door
        self._world = world

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query."""
        return await self._door.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job."""
        return await self._door.write(fn, *args, **kwargs)


class NoFence(_Passing):
    """Door that replaces the fence and, with *terms*, the term of each write by the current one."""

    terms = True

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job with the current fence."""
        return await self._door.write(_Unfenced(fn, self._world, terms=self.terms), *args, **kwargs)


class _NoHolderFence(NoFence):
    """Such a door for the fences of runs alone."""

    terms = False


class _Unfenced:
    """Job that uses the current fences; the trace shows the original arguments."""

    def __init__(self, fn: Callable[..., Any], world: World, *, terms: bool) -> None:
        self.__name__ = name_of(fn)
        self._fn = fn
        self._world = world
        self._terms = terms

    def __call__(self, c: sa.Connection, *args: Any, **kwargs: Any) -> Any:
        return self._fn(
            c, *map(self._renewed, args), **{name: self._renewed(value) for name, value in kwargs.items()}
        )

    def _renewed(self, given: Any) -> Any:
        disk = self._world.disk
        match given:
            case FencedRun():
                row = disk.one("SELECT fence, state FROM runs WHERE id = ?", given.id)
                return given if row is None else FencedRun(given.id, type(given.state)(row[1]), row[0])
            case [plans.UnitToPlan() | units.AnsweredCalls(), *_]:
                return [msgspec.structs.replace(unit, held=self._renewed(unit.held)) for unit in given]
            case Term() if self._terms:
                row = disk.one("SELECT holder_boot_id, fence FROM leases WHERE name = ?", given.name)
                return given if row is None else Term(given.name, row[0], row[1])
        return given


class CommitAfterSend(_Passing):
    """Door that delays the writes of planned and sent calls until one of the calls is answered."""

    def __init__(self, door: Store, world: World) -> None:
        super().__init__(door, world)
        self._kept: dict[str, list[tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {}  # by unit
        self._unit_of: dict[str, str] = {}  # by call

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Delay the job if its result can be predicted."""
        if fn is plans.plan_units:
            return [await self._plan(unit) for unit in args[0]]
        if fn is calls.mark_sent and (unit_of := self._unit_of.get(args[1][0])) in self._kept:
            self._kept[unit_of].append((fn, args, kwargs))
            return list(args[1])
        if fn is units.settle_answers:
            for batch in args[0]:
                for call_id in (*(answer.call_id for answer in batch.answers), *batch.following):
                    await self._write_kept(self._unit_of.get(call_id, ""))
        if fn is units.settle_unit:
            await self._write_kept(args[1])
        return await self._door.write(fn, *args, **kwargs)

    async def _plan(self, unit: UnitToPlan) -> UnitPlan | HubError:
        (plan,) = await self._door.write(_undone, plans.plan_units, [unit])
        if isinstance(plan, HubError) or not plan.open_calls:
            (plan,) = await self._door.write(plans.plan_units, [unit])
        else:
            self._kept[unit.unit_key] = [(plans.plan_units, ([unit],), {})]
            self._unit_of |= {call.call_id: unit.unit_key for call in plan.open_calls}
        return plan

    async def _write_kept(self, unit: str) -> None:
        for fn, args, kwargs in self._kept.pop(unit, ()):
            await self._door.write(fn, *args, **kwargs)


class NoJournal(_Passing):
    """Door that hides the journal of answered questions."""

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query, and return nothing for the journal."""
        if fn is model_answers.find_answer:
            return None
        return await self._door.read(fn, *args, **kwargs)


class NoLedger(_Passing):
    """Door that hides known items, so that each source sends all its items."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job without known items, and do not store the items."""
        if fn is plans.plan_units:
            args = ([msgspec.structs.replace(unit, decide=_without_ledger(unit.decide)) for unit in args[0]],)
        return await self._door.write(fn, *args, **kwargs)


class NoJudging(_Passing):
    """Door that leaves every stored instant as it was when the clock steps."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job, and undo it if it judges instants again."""
        if fn is clock_steps.judge_again:
            return await self._door.write(_undone, fn, *args, **kwargs)
        return await self._door.write(fn, *args, **kwargs)


class NoEviction(_Passing):
    """Door that hides that another hub has a device."""

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query, and return nothing for connections elsewhere."""
        if fn is sessions.taken_from:
            return []
        if fn is sessions.apart:
            return [], []
        return await self._door.read(fn, *args, **kwargs)


class SettledWhenSent(_Passing):
    """Door that settles each verdict when it is marked as sent."""

    def __init__(self, door: Store, world: World) -> None:
        super().__init__(door, world)
        self._due: dict[CallId, DueVerdict] = {}

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the query, and note the verdicts that it finds."""
        found = await self._door.read(fn, *args, **kwargs)
        if fn is item_verdicts.due:
            self._due |= {verdict.id: verdict for verdict in found}
        return found

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job; after the mark, settle the verdicts."""
        result = await self._door.write(fn, *args, **kwargs)
        if fn is item_verdicts.claim_sends:
            about = {"epoch": kwargs["epoch"], "at": kwargs["at"]}
            for sent in [self._due[id] for id in sorted(result)]:
                answer = VerdictAnswer(id=sent.id, state=_STATES[sent.verdict])
                await self._door.write(item_verdicts.settle, sent.device_id, [answer], **about)
        return result


_STATES: Final[dict[GivenVerdict, RowState]] = {
    "approve": "approved",
    "edit": "edited",
    "reject": "rejected",
    "undo": "open",
}


class _Pausing(_Passing):
    """Door with a pause in which a device moves to another hub, which gets some time."""

    def __init__(self, door: Store, world: World) -> None:
        super().__init__(door, world)
        self._dice = world.dice.fork("pauses")

    async def _let_others_work(self, run_ids: Sequence[str]) -> None:
        live = self._world.witness.facts.live
        await self._move({live[id].device_id for id in run_ids if id in live})

    async def _move(self, there: Collection[str | None]) -> None:
        """Let these devices connect to another hub, and work there for some time."""
        for device in self._world.devices:
            if device.id in there and device.wire is not None:
                device.wire.cut(hub_after_s=self._dice.choice(LATE_S), device_after_s=0.0, is_read=True)
        await anyio.sleep(self._dice.uniform(2.0, 90.0))


class PausedClaim(_Pausing):
    """Door that pauses a claim between the choice of its runs and their update."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job; a claim in two parts."""
        if fn is run_claims.claim_runs and not self._world.is_calm and self._dice.says(0.1):
            chosen = [run.id for run in await self._door.write(_undone, fn, *args, **kwargs)]
            if chosen:
                await self._let_others_work(chosen)
                about = {name: kwargs[name] for name in ("boot_id", "lease_ms", "at")}
                return await self._door.write(self._update, chosen, **about)
        return await self._door.write(fn, *args, **kwargs)

    def _update(self, c: sa.Connection, chosen: list[RunId], /, **about: Any) -> Any:
        return run_claims._claim(c, chosen, actor="hub", **about)


class NoClaimGuard(PausedClaim):
    """Such a door, with claims that do not look at the state of a run again.

    The checks of the tables would refuse most of them, so they do not look either.
    """

    def _update(self, c: sa.Connection, chosen: list[RunId], /, **about: Any) -> Any:
        guarded = run_claims.CLAIM
        run_claims.CLAIM = guarded._generate()
        run_claims.CLAIM._where_criteria = (runs.c.id.in_(sa.bindparam("runs", expanding=True)),)
        c.exec_driver_sql("PRAGMA ignore_check_constraints=on")
        try:
            return super()._update(c, chosen, **about)
        finally:
            c.exec_driver_sql("PRAGMA ignore_check_constraints=off")
            run_claims.CLAIM = guarded


class PausedHolder(_Pausing):
    """Door that pauses the holder of a run before it writes."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job, some of them after a pause."""
        held = [one.id for one in args if isinstance(one, FencedRun) and one.state in EXECUTING]
        if held and not self._world.is_calm and self._dice.says(0.05):
            await self._let_others_work(held)
        return await self._door.write(fn, *args, **kwargs)


class PausedAgreement(_Pausing):
    """Door that pauses a hub between a device's report about its rows and the write of the report."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job, some of them after a pause."""
        is_report = fn in (agreement.take_rows, agreement.note_resent)
        if is_report and not self._world.is_calm and self._dice.says(0.3):
            await self._move({kwargs["device_id"] if fn is agreement.take_rows else args[0]})
        return await self._door.write(fn, *args, **kwargs)


class NoAgreementFence(PausedAgreement):
    """Such a door, with writes that count whichever connection is the newest."""

    async def write(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the job as one of the newest connection."""
        if fn in (agreement.take_rows, agreement.note_resent):
            kwargs["epoch"] = sys.maxsize
        return await super().write(fn, *args, **kwargs)


def _without_holder_fence(door: Store, world: World) -> Store:
    return PausedHolder(_NoHolderFence(door, world), world)


def _undone(c: sa.Connection, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return the result of a job without writing it."""
    with c.begin_nested() as nothing:
        result = fn(c, *args, **kwargs)
        nothing.rollback()
    return result


def _nothing(known: KnownItems) -> KnownItems:
    return KnownItems(finder=known.finder, here=(), elsewhere=())


def _without_ledger(decide: Decide) -> Decide:
    return lambda known: [_forgotten(one) for one in decide(_nothing(known))]


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


# The same pauses, with the product's own guard and fence: no law that they keep is broken.
PAUSES: Final = {
    "no_claim_guard": Ways(door_of=PausedClaim, hubs=3, only="one claim"),
    "no_holder_fence": Ways(door_of=PausedHolder, hubs=3, only="I5"),
    "no_agreement_fence": Ways(door_of=PausedAgreement, hubs=3, only="I6"),
}
BREAKS: Final = {
    "fresh_ids": Ways(link=FreshIds, only="twice"),
    "no_ledger": Ways(door_of=NoLedger, only="twice"),
    "no_fence": Ways(door_of=NoFence, hubs=2, only="I5"),
    "no_agreement": Ways(agreements=NoAgreement, only="I6"),
    "no_journal": Ways(door_of=NoJournal, only="I14"),
    "commit_after_send": Ways(door_of=CommitAfterSend, only="outbox"),
    "no_judging": Ways(door_of=NoJudging, only="silence"),
    "no_eviction": Ways(door_of=NoEviction, hubs=3, only="one owner"),
    "settled_when_sent": Ways(door_of=SettledWhenSent, only="verdicts"),
    "no_claim_guard": Ways(door_of=NoClaimGuard, hubs=3, only="one claim"),
    "no_agreement_fence": Ways(door_of=NoAgreementFence, hubs=3, only="I6"),
    "no_holder_fence": Ways(door_of=_without_holder_fence, hubs=3, only="I5"),
}
