"""Execution of one run.

Files wait for a model that is away for ``MODEL_WAIT_S`` at most, then they fail.

Every path ends in exactly one state change of the run. The next attempt continues from the committed rows:
settled units are not read again, and planned calls are sent with their old ids.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial

import anyio
import msgspec

from hub.agents.capabilities import checkpoint_to_run_from
from hub.agents.prompts import BadPrompt
from hub.base.clock import Chance, Clock, IdFactory, now_ms
from hub.base.log import Channel, bind
from hub.base.metrics import Metrics
from hub.base.name_lists import count_waiting, counted
from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions, Notes
from hub.extraction.model import ExtractionError, ModelError, ModelExhausted, ModelUnavailable
from hub.links.device_link import DeviceLink
from hub.runs.asking import Asking, UnitAsking
from hub.runs.attempt import Attempt, DocumentReading
from hub.runs.attempt_ending import AttemptEnding, ending_of, gravest, wordless
from hub.runs.budget import BudgetReached
from hub.runs.delivery import NOT_READ, POSTPONED, ItemDelivery, TableRefused, declare, missing_of
from hub.runs.interrupt import Interrupt
from hub.runs.lifecycle import RunTransitions, RunWatch
from hub.runs.mailbox_visit import MailboxVisits, MessageWork
from hub.runs.model_gates import NotAsked
from hub.runs.rows_read_back import OwnRows
from hub.runs.run_order import RunOrder, UndeclaredTable, set_up, settings_of
from hub.runs.shown_rows import run_extraction_config
from hub.runs.sources import (
    DeviceSource,
    Ledger,
    ReadTree,
    SeenUnits,
    SettledTree,
    TakenOn,
    UnreadUnit,
    digest_of,
)
from hub.runs.unit_tasks import unit_tasks
from protocol.errors import DeviceOffline, ErrorCode, IllegalTransition, LinkLost
from protocol.grants import Grant
from protocol.ids import DeviceId, RunId, trace_id_of
from protocol.lifecycles import CallState, RunEvent, RunOutcome, RunState, UnitState, outcome_of
from protocol.skipped_files import SkipReason
from storage import executing_runs as storage_held
from storage.agents import agents
from storage.devices import devices
from storage.executing_runs import StaleRun
from storage.kernel.database import Conflict, StorageError, written_for
from storage.runs import model_calls, plans, runs
from storage.runs.calls import OpenCall, open_calls
from storage.runs.items import source_of
from storage.runs.run_moves import FollowUp
from storage.runs.runs import RunRow
from storage.runs.units import (
    NO_ENTRY,
    RENEWED_AFTER_MS,
    StillOpen,
    UnitRow,
    fail_unit,
    find_unit,
    note_tried,
    postponed_units,
    renew_entries,
    settle_leaning,
    settle_tree,
    settle_unit,
    skip_units,
    units_of,
)
from storage.store import Store

log = Channel(__name__)

MODEL_WAIT_S = 86_400.0  # an older run does not wait for its model; its files fail with an error message
UNITS_BEHIND = 8  # for each unit that is read, so that many small ones are planned and delivered together
MAX_UNREAD = 10_000  # files, so that each is logged once until it changes
MAX_RUNS_OF_FIRE = 1_000  # 2 million files, if each run reads 2,000; the next fire goes on
END_AGAIN_CAP_S = 10.0  # between attempts to write the end of a run
# These errors may not occur in the next run, so they are not permanent faults of a message.
_NOT_ITS_FAULT = frozenset({ErrorCode.LIMIT_REACHED, ErrorCode.BUDGET_REACHED, ErrorCode.BUSY})


class Runner:
    """Executes claimed runs."""

    def __init__(
        self,
        *,
        store: Store,
        lifecycle: RunTransitions,
        source: DeviceSource,
        extractor: Extractor,
        asking: Asking,
        delivery: ItemDelivery,
        find_link: Callable[[DeviceId], DeviceLink | None],
        watch: RunWatch,
        own_rows: OwnRows,
        clock: Clock,
        chance: Chance,
        ids: IdFactory,
        metrics: Metrics,
        mailboxes: MailboxVisits | None = None,
        units_in_flight: int = 8,
        device_grace_s: float,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._source = source
        self._extractor = extractor
        self._asking = asking
        self._delivery = delivery
        self._find_link = find_link
        self._watch = watch
        self._own_rows = own_rows
        self._unread_units: dict[tuple[str, str], str] = {}  # messages of files that could not be read
        self._clock = clock
        self._chance = chance
        self._ids = ids
        self._limits_reached = metrics.limits_reached
        self._mailboxes = mailboxes
        self._units_in_flight = units_in_flight
        # of units of all runs that are read, and wait for the database or their device
        self._behind = anyio.Semaphore((units_in_flight - 1) * UNITS_BEHIND)
        self.device_grace_s = device_grace_s

    async def run(self, order: RunOrder, interrupt: Interrupt) -> None:
        """Execute a claimed run until it leaves the executing states."""
        attempt = Attempt(order, self._delivery.window())
        about = {"run_id": order.run_id, "agent_id": order.agent_id, "device_id": order.device_id}
        whose = written_for(f"device:{order.device_id or order.agent_id}")
        with bind(trace_id=trace_id_of(order.run_id), fence=order.fence, **about), whose:
            try:
                ending = await self._guarded(attempt, interrupt)
                await self._end_surely(attempt, ending, interrupt)
            except StaleRun as exc:
                log.warning("run.lost", detail=str(exc))
            finally:
                self._watch.changed(order.run_id)

    async def _guarded(self, attempt: Attempt, interrupt: Interrupt) -> AttemptEnding:
        """Run the attempt, and convert every error into an ending."""
        broken: Exception | None = None
        try:
            with interrupt.scope, anyio.move_on_after(attempt.order.timeout_s - attempt.order.executed_s):
                return await self._work(attempt, interrupt)
        except Exception as exc:  # the only catch-all: a run must end in a state change after any error
            broken = gravest(exc)
        if isinstance(broken, StaleRun):
            raise broken
        if broken is not None and interrupt.event is None:
            order = attempt.order
            is_model_away = (
                isinstance(broken, ModelUnavailable)
                and self._asking.away(order) is not None
                and self._may_wait(order)
            )
            return ending_of(broken, order, attempt.state, self._chance, is_model_away=is_model_away)
        if interrupt.event is not None:
            return AttemptEnding(event=interrupt.event, reason=interrupt.reason)
        self._limits_reached.labels("run_wall_s").inc()
        unanswered = 0
        with suppress(StorageError):  # it is asked for a message only
            calls = await self._store.read(open_calls, attempt.order.run_id)
            unanswered = sum(call.state is CallState.SENT for call in calls)
        waited = f"; calls that the device has not answered: {unanswered}" if unanswered else ""
        return AttemptEnding(
            event=RunEvent.FAILED,
            reason=f"deadline: not done after {attempt.order.timeout_s:g} s{waited}",
            outcome=RunOutcome.ERROR,
            is_followed=not attempt.is_broke,
        )

    async def _work(self, attempt: Attempt, interrupt: Interrupt) -> AttemptEnding:
        """Read the device's files, and continue on its next connection if it reconnects in time."""
        if attempt.order.settings.mailbox is not None:
            return await self._visit_mailbox(attempt, interrupt)
        device_id = attempt.order.device_id
        if not attempt.order.settings.is_task:
            await self._store.read(devices.require_grant, device_id, Grant.FILES)
        link = self._find_link(device_id)
        while link is not None:
            try:
                return await self._visit(attempt, link, interrupt)
            except Exception as exc:
                lost = isinstance(gravest(exc), LinkLost | DeviceOffline)
                if not lost or attempt.state is not RunState.RUNNING:
                    raise
                link = await self._reconnected(device_id, link, interrupt)
                if link is None:
                    raise
                # A cancelled write may still be queued; this write waits until it is done.
                await self._store.write(storage_held.check_held, attempt.order.held(attempt.state))
                log.info("run.device_back")
        return AttemptEnding(event=RunEvent.DEVICE_LOST, reason="the device left before the run began")

    async def _reconnected(
        self, device_id: DeviceId, before: DeviceLink, interrupt: Interrupt
    ) -> DeviceLink | None:
        """Return the device's next link, or None after the grace period or when the run must stop."""
        with anyio.move_on_after(self.device_grace_s):
            while interrupt.event is None:
                link = self._find_link(device_id)
                if link is not None and link is not before:
                    return link
                await interrupt.nudged()
        return None

    async def _visit(self, attempt: Attempt, link: DeviceLink, interrupt: Interrupt) -> AttemptEnding:
        order = attempt.order
        await declare(link, order.settings.own_tables, call_id=f"{order.run_id}:{order.fence}:declares")
        earlier = await self._store.read(units_of, order.run_id)
        attempt.begin_listing(earlier)
        settled_paths = {unit.unit_key: unit.state for unit in earlier if unit.state is not UnitState.PENDING}
        checkpoint = await checkpoint_to_run_from(self._store, order.agent_id)
        asking = await self._asking.open(order)
        # fetched for the first document, because most visits have none
        config: ExtractionOptions | None = None
        slots = anyio.Semaphore(self._units_in_flight)
        async with asking.opened():
            async with unit_tasks(self.device_grace_s) as units:
                with interrupt.reading:
                    read = self._source.read(
                        link,
                        order,
                        Ledger(self._store, order, self._clock),
                        settled_paths=settled_paths,
                        taken=sum(state is not UnitState.SKIPPED for state in settled_paths.values()),
                        fresh=attempt.fresh,
                        listing=attempt.listing,
                        checkpoint=checkpoint,
                        can_transcribe=asking.can_transcribe,
                        reader=self._extractor.reader(order.extraction_config, asking.models),
                    )
                    async with aclosing(read) as events:
                        async for event in events:
                            match event:
                                case TakenOn():
                                    await self._taken_on(attempt, link, interrupt)
                                case SeenUnits():
                                    await self._pass_over(attempt, event)
                                case SettledTree():
                                    await self._note_unchanged(attempt, event.files, listed=event.files)
                                case ReadTree():
                                    attempt.tree = event
                                case UnreadUnit():
                                    await self._unread(attempt, event)
                                case Document():
                                    await asking.make_room()
                                    await slots.acquire()
                                    config = config or await run_extraction_config(self._store, link, order)
                                    reading = DocumentReading(
                                        link, asking, config, event, now_ms(self._clock)
                                    )
                                    units.start(self.unit, attempt, reading, slots, interrupt)
            if interrupt.event is not None:
                return AttemptEnding(event=interrupt.event, reason=interrupt.reason)
            interrupt.check_quota()
            await asking.finish()
            ending = await self._end_of_postponed(attempt)
            languages = attempt.unread_languages
            if attempt.unchanged:  # files that an earlier run has counted
                languages = await self._store.read(
                    runs.all_unread_languages, order.agent_id, order.run_id, languages
                )
            if attempt.left_out or languages:
                await self._store.write(
                    runs.note_left_out,
                    order.held(RunState.RUNNING),
                    attempt.left_out,
                    now_ms(self._clock),
                    unlisted=attempt.unlisted,
                    unread_languages=languages,
                )
            return ending or await self._finished(attempt)

    async def _visit_mailbox(self, attempt: Attempt, interrupt: Interrupt) -> AttemptEnding:
        """Read a connector, and deliver items as long as the device is connected."""
        assert self._mailboxes is not None, "a run over a mailbox, in a hub that reads none"
        order = attempt.order
        await self.begin(attempt)
        attempt.link = self._find_link(order.device_id)
        if attempt.link is not None:
            call_id = f"{order.run_id}:{order.fence}:declares"
            try:
                await declare(attempt.link, order.settings.own_tables, call_id=call_id)
            except TableRefused as exc:
                return AttemptEnding(
                    event=RunEvent.DEVICE_LOST, reason=f"the run waits for another device: {exc}"
                )
            except (LinkLost, DeviceOffline):
                attempt.link = None
        slots = anyio.Semaphore(self._units_in_flight)
        asking = await self._asking.open(order)
        async with asking.opened():
            work = MessageWork(
                attempt,
                asking,
                slots,
                process=lambda reading: self.unit(attempt, reading, slots, interrupt),
                bring=lambda key, calls: self.bring(attempt, attempt.link, key, calls, interrupt),
            )
            ending = await self._mailboxes.visit(attempt, interrupt, work)
            if interrupt.event is not None:
                return AttemptEnding(event=interrupt.event, reason=interrupt.reason)
            if ending is not None:
                return ending
            await asking.finish()
        if await self._store.read(open_calls, order.run_id):
            return AttemptEnding(event=RunEvent.DEVICE_LOST, reason="what was found waits for the device")
        return await self._finished(attempt)

    async def begin(self, attempt: Attempt) -> None:
        """Move the run from PREPARING to RUNNING, if it is not running yet."""
        if attempt.state is RunState.PREPARING:
            # Shielded: the code that ends the attempt must know the state of the row.
            with anyio.CancelScope(shield=True):
                await self._lifecycle.move(attempt.order.held(RunState.PREPARING), RunEvent.ACKNOWLEDGED)
                attempt.state = RunState.RUNNING

    async def _taken_on(self, attempt: Attempt, link: DeviceLink, interrupt: Interrupt) -> None:
        order = attempt.order
        await self.begin(attempt)
        left: dict[str, list[OpenCall]] = {
            unit.unit_key: []
            for unit in await self._store.read(units_of, order.run_id)
            if unit.state is UnitState.EXTRACTED
        }
        for call in await self._store.read(open_calls, order.run_id):
            # New since the read above: another hub has taken the run, and the write below fails.
            left.setdefault(call.unit_key, []).append(call)
        if left:
            await Ledger(self._store, order, self._clock).has_settled(None)  # it changes the ledger
        for unit_key, calls in left.items():
            await self.bring(attempt, link, unit_key, calls, interrupt)

    async def _pass_over(self, attempt: Attempt, seen: SeenUnits) -> None:
        order = attempt.order
        held, at = order.held(RunState.RUNNING), now_ms(self._clock)
        files = [file for file in seen.files if file.path not in attempt.postponed]
        waiting = [file for file in files if file.path in attempt.waiting]
        if waiting:  # the content for which the model was asked is not there any more
            units = [(file.path, file.sha256, file.size_bytes) for file in waiting]
            await self._store.write(skip_units, held, units, at=at)
        if seen.oldest_at is not None and seen.oldest_at < at - RENEWED_AFTER_MS:
            await self._store.write(renew_entries, held, [file.path for file in seen.files], at=at)
        await self._note_unchanged(attempt, len(files) - len(waiting), listed=seen.listed)

    async def _note_unchanged(self, attempt: Attempt, files: int, *, listed: int | None) -> None:
        attempt.unchanged += files
        await self._store.write(
            runs.note_progress,
            attempt.order.held(RunState.RUNNING),
            listed,
            at=now_ms(self._clock),
            unchanged=attempt.unchanged,
        )
        self._watch.changed(attempt.order.run_id)

    async def _unread(self, attempt: Attempt, unread: UnreadUnit) -> None:
        order = attempt.order
        held, at = order.held(RunState.RUNNING), now_ms(self._clock)
        if unread.limit is not None:
            attempt.left = unread  # an error only if no run follows at once
            return
        if not unread.is_failure:
            attempt.leave_out(unread.code, unread.files)
            if not unread.unit_key:
                attempt.unlisted += unread.files
                return
            unit, code = (unread.unit_key, "", None), unread.code
            reason = unread.message if unread.message.startswith(code) else f"{code}: {unread.message}"
            await self._store.write(
                skip_units, held, [unit], at=at, reason=reason, is_tried=unread.was_fetched
            )
            return
        key = (str(order.agent_id), unread.unit_key)
        if self._unread_units.pop(key, None) != unread.message:  # once for each change, not at every run
            log.warning("unit.unread", unit=unread.unit_key, code=unread.code, why=unread.message)
        self._unread_units[key] = unread.message
        if len(self._unread_units) > MAX_UNREAD:
            del self._unread_units[next(iter(self._unread_units))]
        if not unread.unit_key:
            code, message = unread.code, unread.message
            await self._store.write(
                runs.record_held_error, held, unit_key=None, code=code, message=message, at=at
            )
            return
        try:
            await self._store.write(
                fail_unit,
                held,
                unit_key=unread.unit_key,
                content_hash="",
                size_bytes=None,
                error=unread.message,
                code=unread.code,
                at=at,
            )
        except (StillOpen, IllegalTransition):
            log.info("unit.settled_before", code=unread.code)  # its first result is kept
        self._watch.changed(order.run_id)

    async def unit(
        self,
        attempt: Attempt,
        reading: DocumentReading,
        slots: anyio.Semaphore,
        interrupt: Interrupt,
    ) -> None:
        """Process one document: extract, plan, deliver and settle it."""
        order, document = attempt.order, reading.document
        self._unread_units.pop((str(order.agent_id), document.unit_key), None)
        recording, slot = document.recording, slots
        unit = reading.asking.about(document.unit_key)
        try:
            if attempt.is_full:  # all its items would be left out, so reading it would only cost money
                self._limits_reached.labels("items_per_run").inc()
                entries = await Ledger(self._store, order, self._clock).entries([document.unit_key])
                attempt.unread += entries.get(document.unit_key, NO_ENTRY).tried_at < order.fire_at
                await self._fail(order, reading, ErrorCode.LIMIT_REACHED, NOT_READ, is_tried=False)
                return
            if (extracted := await self._extracted(attempt, reading, unit, interrupt)) is None:
                return
            reading, found = extracted
            document = reading.document
            with suppress(anyio.WouldBlock):
                self._behind.acquire_nowait()
                slots.release()
                slot = self._behind
            try:
                plan = await self._delivery.plan(
                    reading.link,
                    order,
                    document,
                    found,
                    window=attempt.window,
                    read_at=reading.read_at,
                    message=reading.message,
                    is_absent=partial(attempt.lacks, reading.link, source_of(document.unit_key)),
                )
            except Conflict as exc:
                # A paused run of the same agent planned these items, and will deliver them.
                await self._fail(order, reading, ErrorCode.BUSY, str(exc))
                return
            attempt.unread_languages.update(found.notes.unread_languages)
            if found.notes.given_up_chars or found.notes.lost or found.notes.unanswered:
                await unit.forget(unit.useless)
            attempt.is_full = attempt.is_full or "items_per_run" in plan.left_out
            if plan.settled is None:
                await self.bring(
                    attempt,
                    reading.link,
                    document.unit_key,
                    plan.open_calls,
                    interrupt,
                    is_whole=plan.is_whole,
                    marked=plan.marked,
                )
            else:
                self._watch.changed(order.run_id)
        finally:
            slot.release()
            if recording is not None:
                recording.close()

    async def _extracted(
        self, attempt: Attempt, reading: DocumentReading, unit: UnitAsking, interrupt: Interrupt
    ) -> tuple[DocumentReading, Extraction] | None:
        """Return the items of a document with its text; None if it failed, or is left to another attempt."""
        order = attempt.order
        try:
            with interrupt.thinking() as thinking, attempt.window.plans.expected():
                if reading.document.recording is not None:
                    reading = reading._replace(document=await unit.transcribed(reading.document))
                document = await self._own_rows.blank(order.user_id, reading.document)
                reading = reading._replace(document=document)
                found = await self._extractor.extract(
                    document, reading.extraction_config, through=unit.through, models=reading.asking.models
                )
            if thinking.cancelled_caught or unit.is_waiting:
                return None
            if reading.message is None or not found.notes.unanswered:
                return reading, found
            # A message is read only once, so it must be read completely.
            await self._fail(order, reading, ErrorCode(found.notes.code), found.notes.failed)
        except ModelExhausted as exc:
            interrupt.exhaust(exc)  # what the other units have answers about is delivered
            if exc.spent.requests:  # later attempts read other units first
                tried = order.run_id, document.unit_key, now_ms(self._clock)
                await self._store.write(note_tried, *tried)
        except BudgetReached as exc:
            attempt.is_broke = True
            await self._fail(order, reading, exc.code, str(exc))
        except (ModelUnavailable, ExtractionError) as exc:
            return await self._without_model(attempt, reading, unit, exc)
        except Exception as exc:  # a document that breaks the extractor must not break its run
            broken = gravest(exc)
            if isinstance(broken, ModelError | StorageError):
                raise
            log.error("unit.broke", exc=wordless(broken))
            await self._fail(order, reading, ErrorCode.INTERNAL, type(broken).__name__)
        return None

    async def _without_model(
        self,
        attempt: Attempt,
        reading: DocumentReading,
        unit: UnitAsking,
        error: ModelUnavailable | ExtractionError,
    ) -> tuple[DocumentReading, Extraction] | None:
        """Return what rules find in a file that the model does not read; None if the unit failed."""
        document, lasting = reading.document, error if isinstance(error, ExtractionError) else None
        if lasting is None and reading.message is not None:
            raise error  # the run waits, as a message is read only once
        failure: ModelError = error
        if reading.message is None and document.recording is None:  # else there is no text for the rules
            try:
                found = await self._extractor.extract_by_rules(document, reading.extraction_config, lasting)
                if lasting is None and not isinstance(error, NotAsked):
                    attempt.unanswered[document.unit_key] = str(error)
                if lasting is None or found.items:
                    return reading, found
            except ExtractionError as exc:
                failure = exc
        await self._fail(attempt.order, reading, failure.code, str(failure))
        if lasting is not None:
            await unit.forget(unit.asked)
        return None

    async def bring(
        self,
        attempt: Attempt,
        link: DeviceLink | None,
        unit_key: str,
        calls: Sequence[OpenCall],
        interrupt: Interrupt,
        *,
        is_whole: bool = False,
        marked: int = 0,
    ) -> None:
        """Deliver a unit's items and settle it, unless a stop left some of them unsent.

        While the device is disconnected, items from a mailbox wait in the outbox.

        Args:
            is_whole: nothing is missing of the unit, so that the last answer settles it.
            marked: so many calls, the first ones, are marked as sent by their plan.
        """
        if not calls:
            await self._settle(attempt, unit_key)
        elif link is not None:
            deliver = partial(self._delivery.deliver, link, attempt.order, calls, attempt.window, interrupt)
            try:
                if await deliver(is_whole=is_whole, marked=marked):
                    await self._settle(attempt, unit_key)
            except Exception as exc:
                is_lost = isinstance(gravest(exc), LinkLost | DeviceOffline)
                if not is_lost or attempt.order.settings.mailbox is None:
                    raise
                attempt.link = None

    async def _fail(
        self, order: RunOrder, reading: DocumentReading, code: ErrorCode, error: str, *, is_tried: bool = True
    ) -> None:
        document, message = reading.document, reading.message
        fail: Callable[..., object] = partial(fail_unit, is_tried=is_tried)
        if message is not None:
            fail = partial(
                plans.fail_message,
                agent_id=order.agent_id,
                seen_key=message.seen_key,
                version=message.version,
                subject=message.subject,
                is_its_fault=code not in _NOT_ITS_FAULT,
            )
        await self._store.write(
            fail,
            order.held(RunState.RUNNING),
            unit_key=document.unit_key,
            content_hash=document.content_hash,
            size_bytes=len(document.text),
            error=error,
            code=code,
            at=now_ms(self._clock),
            began_at=document.began_at,
            read_at=reading.read_at,
        )
        self._watch.changed(order.run_id)

    async def _settle(self, attempt: Attempt, unit_key: str) -> None:
        """Settle a unit whose calls are all answered: DONE, or PENDING while free text awaits the model.

        The unit becomes FAILED if a part of it could not be extracted.
        """
        order = attempt.order
        if unit_key in attempt.window.done:
            attempt.window.done.remove(unit_key)
            self._watch.changed(order.run_id)
            return
        unit = await self._store.read(find_unit, order.run_id, unit_key)
        # The plan has notes of its own among them, as of held items.
        notes = msgspec.convert(unit.notes or {}, Notes) if unit is not None else Notes()
        if unit is not None and (missing := missing_of(notes)) is not None:
            await self._fail_read(order, unit, *missing)
        else:
            settled = await self._store.write(
                settle_unit,
                order.held(RunState.RUNNING),
                unit_key,
                at=now_ms(self._clock),
                waits_for=POSTPONED if notes.awaits_model else None,
                unanswered=attempt.unanswered.get(unit_key),
            )
            if settled is UnitState.PENDING:
                attempt.postponed.add(unit_key)
        self._watch.changed(order.run_id)

    def _may_wait(self, order: RunOrder) -> bool:
        """Return True if the run is young enough to wait for its model."""
        return now_ms(self._clock) - order.created_at < MODEL_WAIT_S * 1_000

    async def _end_of_postponed(self, attempt: Attempt) -> AttemptEnding | None:
        """Return the ending of an attempt whose files wait for the model, or None if none does."""
        order = attempt.order
        postponed = await self._store.read(postponed_units, order.run_id)
        missing = [
            (unit.unit_key, unit.content_hash, unit.size_bytes)
            for unit in postponed
            if unit.unit_key not in attempt.postponed
        ]
        if missing:
            await self._store.write(
                skip_units,
                order.held(RunState.RUNNING),
                missing,
                now_ms(self._clock),
                reason=SkipReason.NOT_OFFERED,
            )
            attempt.leave_out(SkipReason.NOT_OFFERED, len(missing))
        waiting = [unit for unit in postponed if unit.unit_key in attempt.postponed]
        if not waiting:
            return None
        why = self._asking.away(order) or next(iter(attempt.unanswered.values()), "it is asked again now")
        if self._may_wait(order):
            row = await self._store.read(runs.get_run, order.run_id)
            unasked = sum(unit.unit_key not in attempt.unanswered for unit in waiting)
            read, waits = counted(row.units_done, "file"), count_waiting(len(waiting), "file")
            new = f" ({unasked} not asked about yet)" if unasked else ""
            reason = f"{read} read; {waits} for the model{new}: {why}"
            return AttemptEnding(event=RunEvent.MODEL_AWAY, reason=reason)
        for unit in waiting:
            error = f"what no rule reads in it was not read: {attempt.unanswered.get(unit.unit_key, why)}"
            await self._fail_read(order, unit, ErrorCode.MODEL_UNAVAILABLE, error)
        return None

    async def _fail_read(self, order: RunOrder, unit: UnitRow, code: ErrorCode, error: str) -> None:
        """Fail a unit that was read, but not completely."""
        await self._store.write(
            fail_unit,
            order.held(RunState.RUNNING),
            unit_key=unit.unit_key,
            content_hash=unit.content_hash,
            size_bytes=unit.size_bytes,
            error=error,
            code=code,
            at=now_ms(self._clock),
        )

    async def _finished(self, attempt: Attempt) -> AttemptEnding:
        order, held = attempt.order, attempt.order.held(RunState.RUNNING)
        after: str | None = ""
        while after is not None:  # items that refer to items of other files can be settled now
            after = await self._store.write(settle_leaning, held, after=after, at=now_ms(self._clock))
        if attempt.listing.is_complete:
            waiting = await self._store.read(plans.waiting_units, order.agent_id)
            if missing := [*filter(attempt.listing.lacks, waiting)]:
                await self._store.write(plans.note_missing, held, order.agent_id, missing)
        if (read := attempt.tree) is not None:
            await self._store.write(settle_tree, held, digest_of(read.tree), read.units)
        row = await self._store.read(runs.get_run, order.run_id)
        is_followed = _goes_on(attempt, row) and await self._has_news(attempt)
        if attempt.left is not None and not is_followed:
            self._limits_reached.labels(attempt.left.limit).inc()
            await self._unread(attempt, msgspec.structs.replace(attempt.left, limit=None))
            row = await self._store.read(runs.get_run, order.run_id)
        settled = row.units_done + row.units_skipped  # known units count as done
        overcome = len(row.errors) - len(row.lasting_errors)
        errors = row.error_count - overcome
        outcome = outcome_of(units_done=settled, items_created=row.items_created, errors=errors)
        if outcome is RunOutcome.ERROR:
            return AttemptEnding(
                event=RunEvent.FAILED, outcome=outcome
            )  # the errors of its units give the reasons
        return AttemptEnding(event=RunEvent.FINISHED, outcome=outcome, is_followed=is_followed)

    async def _has_news(self, attempt: Attempt) -> bool:
        """Return True if the run settled a file that no run of its fire tried before it.

        Else a device that sends changing files in an order of its own would keep runs busy without end. A
        device that has new files at each listing is left to the next fire after MAX_RUNS_OF_FIRE runs.
        """
        order = attempt.order
        if (await self._store.read(model_calls.spent_by_run, order.run_id)).runs >= MAX_RUNS_OF_FIRE:
            return False
        if order.settings.mailbox is not None or order.fence > 1:  # earlier attempts had their own choice
            return True
        done = [
            unit for unit in await self._store.read(units_of, order.run_id) if unit.state is UnitState.DONE
        ]
        return any(unit.unit_key in attempt.fresh for unit in done)

    async def _follow_up(self, attempt: Attempt) -> FollowUp | None:
        """Return the run that reads what the attempt left, or None if none would read more or can start."""
        order = attempt.order
        if not await self._has_news(attempt):
            return None
        agent = await self._store.read(agents.get_agent, order.agent_id)
        try:
            settings = settings_of(agent, self._extractor, await set_up(self._store, agent), order.parameters)
        except (BadPrompt, UndeclaredTable) as problem:
            log.warning("agent.not_read", detail=str(problem))
            return None
        log.info("run.goes_on")
        run_id = RunId(self._ids.fresh())
        return FollowUp(run_id, settings.config_fingerprint, msgspec.to_builtins(settings))

    async def _end_surely(self, attempt: Attempt, ending: AttemptEnding, interrupt: Interrupt) -> None:
        """Move the run, retrying while the database is unavailable: a RUNNING run occupies its device."""
        wait_s = 1.0
        while True:
            try:
                await self._end(attempt, ending)
                return
            except StaleRun:
                raise
            except Exception as exc:
                if isinstance(exc, StorageError) and not isinstance(exc, Conflict):
                    log.error("run.not_ended", exc=exc)
                    if interrupt.is_leaving:
                        return  # the next boot recovers the row
                    with anyio.CancelScope() as interrupt.rest:
                        await self._clock.sleep(wait_s)
                    wait_s = min(2 * wait_s, END_AGAIN_CAP_S)
                    continue
                log.error("run.broke", exc=exc)
                if ending.event is RunEvent.FAILED:
                    return  # the dispatcher later recovers the row, because no task executes it
                reason = f"{ErrorCode.INTERNAL}: {type(exc).__name__}"
                ending = AttemptEnding(event=RunEvent.FAILED, reason=reason, outcome=RunOutcome.ERROR)

    async def _end(self, attempt: Attempt, ending: AttemptEnding) -> None:
        order = attempt.order
        held = order.held(attempt.state)
        if ending.exhausted is not None:
            await self._lifecycle.exhaust(
                held, ending.exhausted, agent_id=order.agent_id, device_id=order.device_id
            )
            return
        if ending.event is RunEvent.USER_PAUSED and attempt.state is RunState.PREPARING:
            await self._lifecycle.pause_early(held, reason=ending.reason)
            return
        await self._lifecycle.move(
            held,
            ending.event,
            reason=ending.reason,
            outcome=ending.outcome,
            error=ending.error,
            code=ending.code,
            wait_s=ending.wait_s,
            agent_id=order.agent_id,
            device_id=order.device_id,
            follow_up=await self._follow_up(attempt) if ending.is_followed else attempt.follow_up,
        )


def _goes_on(attempt: Attempt, row: RunRow) -> bool:
    """Return True if another run would read at once what this one left, within the same budgets.

    Runs for the same fire try each file once, so that files that always fail or change do not keep them busy.
    """
    has_fresh = attempt.unread or (attempt.left is not None and attempt.left.fresh)
    return bool(has_fresh and row.units_done and not attempt.is_broke)
