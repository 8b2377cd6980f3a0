"""Hourly deletion of old rows: intervals, shorter periods for a large database, erasure of users.

A database above its limit keeps ended work for half of its periods, then for a quarter, and so on. Rows that
prevent a second delivery of an item stay for their whole period, however large the database is.

On a database shared by several hubs, the holder of the lease does this. The lease only saves work: two hubs
that prune at once do no harm.

The end of the audit log's chain, written to the log as a copy that is kept elsewhere. ``hub audit verify
--known NUMBER:HASH`` compares the chain with that copy.

Erasure of users: their rows are deleted in small transactions, again after an older backup is restored. The
decision is an entry of the audit log, with the id of the user alone. A file in the state folder has the ids,
too: a backup that is restored may be older than the entry. Each start compares the two, so an erasure that
was interrupted goes on, and one that a restored backup does not know is repeated.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec.structs import replace

from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock, epoch_ms, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.base.toml.limits import AuditSettings, Limits, RetentionSettings
from hub.runs.leadership import Leadership
from protocol.errors import CodedError
from protocol.ids import BootId, RunId, UserId
from storage import audit, changes
from storage.agents import measurements
from storage.agents.measurements import HOUR_MS, MINUTE_MS
from storage.devices import nodes
from storage.effects import clock_steps, orphans, retention, user_data
from storage.effects.retention import DAY_MS, PruningCursors
from storage.kernel import database
from storage.kernel.database import written_for
from storage.kernel.sqlite import SqliteDatabase
from storage.runs import item_words
from storage.runs.units import RENEWED_AFTER_MS
from storage.schema import users
from storage.store import Store

log = Channel(__name__)

T = TypeVar("T")

EVERY_S: Final = 3600.0
FIRST_AFTER_S: Final = 120.0  # after the start has settled, and the lease of a crashed hub has expired
HEAD_EVERY_S: Final = 86_400.0  # interval for logging the end of the audit log
PAUSE_S: Final = 0.05  # after each transaction, to let other writers in
LEASE: Final = "housekeeping"
LEASE_TIMES_S: Final = (60.0, 20.0)  # until it expires, and until it is renewed
AT_ONCE: Final = 100  # agents or schedules per transaction
SEARCHED: Final = 10  # parts of a table per round, of 500 rows: a million items in eight days
COUNTED: Final = 5_000  # answers of models per round: a hundred thousand in a day
# Periods of ended work that nothing but people needs; others keep items from being delivered twice.
SHORTENED: Final = (
    *("runs_days", "failed_runs_days", "payload_days", "fires_days", "activity_days", "messages_days"),
    *("model_answers_days", "model_calls_days", "metric_minutes_days", "metric_hours_days"),
    "questions_days",
)
DELIVERED_DAYS: Final = 4  # at least: an event is delivered once, and is news for three days
MIN_DAYS: Final = 2  # budgets count the requests of a day
COUNTED_AFTER_S: Final = 2.0  # when a server's figures tell of deleted rows
# A run believes a tree that old, and the run that listed its files let entries become that old.
RENEWED_DAYS: Final = 2 * RENEWED_AFTER_MS // DAY_MS


class Housekeeping:
    """Prunes the database."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        boot_id: BootId,
        keep: RetentionSettings | None = None,
        audit: AuditSettings | None = None,
        most_bytes: int = Limits().database_bytes,
        on_full: Callable[[], None] = lambda: None,
        every_s: float = EVERY_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._clock = clock
        self._boot_id = boot_id
        self.keep = keep or RetentionSettings()
        self.audit = audit or AuditSettings()
        self.most_bytes = most_bytes
        self._on_full = on_full
        self._every_s = every_s
        self._pause_s = pause_s

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Prune every hour, and log the end of the audit log once a day, until cancelled."""
        task_status.started()
        self._logged_at = self._clock.monotonic()  # the start logs it too
        await self.loop.serve(
            self._prune_and_log, of="housekeeping", every_s=self._every_s, first_s=FIRST_AFTER_S
        )

    async def _prune_and_log(self) -> None:
        await self.prune()
        if self._clock.monotonic() - self._logged_at >= HEAD_EVERY_S:
            await log_audit_head(self._store)
            self._logged_at = self._clock.monotonic()

    async def prune(self) -> Counter[str]:
        """Delete old rows once. Return the number of deleted rows by kind.

        Deletes nothing while another hub holds the lease, and stops once another hub takes it. Deletes
        nothing for a day after the clock has skipped one, because a wrong clock makes rows look old.
        """
        went: Counter[str] = Counter()
        began = self._clock.monotonic()
        lease = Leadership(self._store, LEASE, self._boot_id, clock=self._clock, times_s=LEASE_TIMES_S)
        if await lease.acquire() is None:
            return went
        try:
            now = self._clock.now()
            if await self._store.read(clock_steps.is_doubted, epoch_ms(now)):
                log.info("housekeeping.put_off", why="the clock has skipped a day, and may be wrong")
                return went
            start = await self._store.read(retention.find_places)
            keep: RetentionSettings | None = self.keep
            while keep is not None:
                steps, places = await self._steps(now, start, keep)
                for name, step in steps:
                    while await lease.is_held() and (rows := await self._store.write(step)):
                        went[name] += rows
                        await self._pause()
                keep = await self._shorter(keep) if await lease.is_held() else None
            unit, item = await self._search(now, start, lease, went)
            places = replace(places, unit=unit, item=item)
            if places != start:
                await self._store.write(retention.note_places, places)
        finally:
            await lease.resign()
        went = +went
        if went:
            log.info("housekeeping.pruned", took_s=round(self._clock.monotonic() - began, 3), **went)
        return went

    async def _shorter(self, keep: RetentionSettings) -> RetentionSettings | None:
        """Return the next periods to prune by; None if the database is small enough, or none is shorter."""
        if self._store.is_shared:
            await self._clock.sleep(COUNTED_AFTER_S)
        used = await self._store.read(database.measure_used)
        if used <= self.most_bytes:
            return None
        before = {name: getattr(keep, name) for name in SHORTENED}
        days = {name: min(of, max(MIN_DAYS, of // 2)) for name, of in before.items()}
        self._on_full()
        log.warning("housekeeping.shortened", used_bytes=used, database_bytes=self.most_bytes, **days)
        return None if days == before else keep.model_copy(update=days)

    async def _pause(self) -> None:
        """Wait for a moment, so that other writers get their turn."""
        self.loop.work()
        await self._clock.sleep(self._pause_s)

    async def _search(
        self, now: datetime, start: PruningCursors, lease: Leadership, went: Counter[str]
    ) -> tuple[tuple[str, str], str]:
        """Delete units and items that are gone, in SEARCHED parts of each. Return the places to go on."""
        before, since = _before(now, self.keep.items_days + RENEWED_DAYS), _before(now, self.keep.items_days)
        unit, item = start.unit, start.item
        for part in range(SEARCHED):
            is_first = part == 0
            if not is_first and not (any(unit) or item):
                break  # both came to their end
            if not is_first:
                await self._pause()
            if not await lease.is_held():
                break
            if is_first or any(unit):
                rows, unit = await self._store.write(orphans.prune_units, unit, before=before, since=since)
                went["units"] += rows
            if is_first or item:
                rows, item = await self._store.write(orphans.prune_items, item, before=before)
                went["items"] += rows
        return unit, item

    async def _steps(
        self, now: datetime, start: PruningCursors, keep: RetentionSettings
    ) -> tuple[list[tuple[str, Callable[..., int]]], PruningCursors]:
        """Return the deletion steps at *now* in order, and the places where the next round goes on.

        Each step is repeated until it returns 0.
        """
        old = _before(now, keep.runs_days)
        runs_retained, fires_retained = keep.runs_kept, keep.fires_kept
        with_old_runs = partial(retention.list_agents_with_old_runs, before=old, retained=runs_retained)
        agent_ids, agent = await self._examine(with_old_runs, start.agent)
        crowded = partial(retention.list_crowded_schedules, retained=fires_retained)
        schedule_ids, schedule = await self._examine(crowded, start.schedule)
        runs = partial(
            retention.prune_runs,
            before=old,
            failed_before=_before(now, keep.failed_runs_days),
            retained=runs_retained,
        )
        crowds = partial(retention.prune_crowded_fires, retained=fires_retained)
        payloads, fires = _before(now, keep.payload_days), _before(now, keep.fires_days)
        activity, answers = _before(now, keep.activity_days), _before(now, keep.answers_days)
        journaled, asked = _before(now, keep.model_answers_days), _before(now, keep.model_calls_days)
        minutes, hours = _before(now, keep.metric_minutes_days), _before(now, keep.metric_hours_days)
        settled = _before(now, keep.questions_days)
        messages = _before(now, keep.messages_days)
        orphaned = _before(now, keep.items_days)
        delivered = _before(now, max(DELIVERED_DAYS, keep.activity_days))
        seen, posted = _before(now, keep.seen_messages_days), _before(now, keep.posted_days)
        # As much shorter as the others above ``most_bytes``: what is listed again is judged again.
        left_out_days = keep.seen_messages_days * keep.activity_days // self.keep.activity_days
        left_out = _before(now, max(left_out_days, MIN_DAYS))
        crowd, counted = await self._store.read(
            retention.count_answers, start.answers, retained=keep.model_answers_kept, rows=COUNTED
        )
        unused = journaled if crowd is None else max(journaled, crowd)
        steps: list[tuple[str, Callable[..., int]]] = [
            ("payloads", partial(retention.forget_payloads, before=payloads, at=epoch_ms(now))),
            *(("runs", partial(runs, agent_ids=part)) for part in _parts(agent_ids)),
            ("fires", partial(retention.prune_fires, before=fires)),
            ("wakes", partial(retention.prune_wakes, before=fires)),
            ("verdicts", partial(retention.prune_verdicts, before=_before(now, self.keep.payload_days))),
            ("proposals", partial(retention.prune_proposals, before=_before(now, self.keep.payload_days))),
            ("excerpts", partial(retention.prune_excerpts, before=_before(now, keep.excerpts_days))),
            *(("fires", partial(crowds, schedule_ids=part)) for part in _parts(schedule_ids)),
            ("activity", partial(retention.prune_activity, before=activity)),
            ("receipts", partial(retention.prune_receipts, before=_before(now, self.keep.activity_days))),
            ("agent_history", partial(retention.prune_agent_history, before=activity)),
            ("config_history", partial(retention.prune_config_history, before=activity)),
            ("answers", partial(retention.prune_idempotency, before=answers)),
            ("model_answers", partial(retention.prune_answers, before=unused)),
            ("model_calls", partial(retention.prune_calls, before=asked)),
            ("model_batches", partial(retention.prune_batches, before=asked)),
            ("measurements", partial(measurements.prune_buckets, size_ms=MINUTE_MS, before=minutes)),
            ("measurements", partial(measurements.prune_buckets, size_ms=HOUR_MS, before=hours)),
            ("series", partial(measurements.prune_series, before=hours)),
            ("messages", partial(retention.prune_messages, before=messages)),
            ("broadcasts", partial(retention.prune_broadcasts, before=messages)),
            ("questions", partial(retention.prune_questions, before=settled)),
            ("seen_messages", partial(retention.prune_seen, before=seen)),
            ("seen_messages", partial(retention.prune_left_out, before=left_out)),
            ("posted", partial(retention.prune_posted, before=posted)),
            ("sign_ins", partial(retention.prune_sign_ins, before=posted)),
            ("failed_attempts", partial(retention.prune_attempts, before=_before(now, 1))),
            ("deliveries", partial(retention.prune_deliveries, before=delivered)),
            ("issue_mutes", partial(retention.prune_mutes, before=_before(now, 1))),
            ("words", item_words.index_earlier),  # after an upgrade from before there were words
            ("changes", changes.prune),
            ("nodes", partial(nodes.prune_nodes, own=self._boot_id, before=orphaned)),
            (
                "audit",
                partial(audit.prune_audit, before=_before(now, self.audit.keep_days), at=epoch_ms(now)),
            ),
            ("pages", retention.vacuum),
        ]
        return steps, replace(start, agent=agent, schedule=schedule, answers=counted)

    async def _examine(self, find: Callable[..., tuple[list[str], str]], place: str) -> tuple[list[str], str]:
        """Return the ids that *find* returns of SEARCHED parts behind *place*, and the place to go on."""
        found: list[str] = []
        for _ in range(SEARCHED):
            some, place = await self._store.read(find, place, rows=AT_ONCE)
            found += some
            if not place:
                break
        return found, place


def _before(now: datetime, days: int) -> int:
    return epoch_ms(now - timedelta(days=days))


def _parts(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


async def log_audit_head(store: Store) -> None:
    """Log the number and the hash of the last audit entry, if the audit log has any."""
    head = await store.read(audit.end_of_chain)
    if head is not None:
        log.info("audit.head", seq=head.seq, hash=head.hash.hex())


ERASED_FILE: Final = "erased-users"  # in the state folder: an id on each line; no backup replaces it
ERASURE_PAUSE_S: Final = 0.02  # after each transaction, to let other writers in
ERASURE_WAIT_S: Final = 60.0  # for executing runs to end
ERASURE_POLL_S: Final = 0.5


class Erasures:
    """Service that erases users.

    Args:
        cancel: cancels a run, as an operator does.
    """

    def __init__(
        self, store: Store, state: Path, *, cancel: Callable[..., Awaitable[Any]], clock: Clock
    ) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._state = state
        self._cancel = cancel
        self._clock = clock

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Delete erased users until cancelled."""
        task_status.started()
        with written_for("erasure"):
            await self.loop.serve(
                self.erase_all, of="erasure", every_s=EVERY_S
            )  # another node may have recorded one

    async def erase_all(self) -> None:
        """Delete all rows of every user whose erasure is recorded."""
        for user_id in await note_erased(self._store, self._state, self._clock):
            await self._stop_work(user_id)
            signs = await self._store.read(user_data.signs_of, user_id)
            rows = await self._forget(signs)
            while went := await self._delete(user_id):  # what was written meanwhile is found again
                rows += went
            rows += await self._forget(signs)
            log.info("user.erased", user_id=user_id, rows=rows)
        # Its log has what was deleted, also by a hub that was killed then.
        database = getattr(self._store, "database", self._store)
        while isinstance(database, SqliteDatabase) and not await database.empty_log():
            self.loop.work()
            await self._clock.sleep(ERASURE_POLL_S)

    async def _delete(self, user_id: UserId) -> int:
        """Delete the rows of a user in all tables once. Return their number."""
        rows = 0
        for table in user_data.ORDER:
            if table is users:  # the last one: an interrupted erasure begins again
                begins = True
                while await self._store.write(item_words.merge_index, begins=begins):
                    begins = False
                    await self._pause()
            place = None
            while True:
                batch, place = await self._store.read(user_data.find_rows, table, user_id, place)
                for part in batch.parts:
                    rows += await self._store.write(user_data.delete_rows, part)
                    await self._pause()
                if place is None:
                    break
        return rows

    async def _stop_work(self, user_id: UserId) -> None:
        """Archive the agents of a user, and cancel the runs; wait for those that execute."""
        until, asked = self._clock.monotonic() + ERASURE_WAIT_S, set[RunId]()
        stop = partial(user_data.stop_work, user_id=user_id, at=now_ms(self._clock))
        while True:
            is_active, live = await self._store.write(stop)
            for run_id in {*live} - asked:
                with suppress(CodedError):  # it has ended meanwhile
                    await self._cancel(run_id, actor="hub", reason="its user is erased")
            asked |= {*live}
            if not is_active and (not live or self._clock.monotonic() > until):
                return
            self.loop.work()
            await self._clock.sleep(ERASURE_PAUSE_S if is_active else ERASURE_POLL_S)

    async def _forget(self, signs: user_data.Signs) -> int:
        """Take a user out of rows that are of everybody. Return the number of changed rows."""
        rows = 0
        for table in user_data.MENTIONING:
            place = None
            while True:
                found, place = await self._store.read(user_data.find_mentions, table, signs, place)
                if any(found):
                    rows += await self._store.write(
                        user_data.erase_mentions, table, found, signs, at=now_ms(self._clock)
                    )
                    await self._pause()
                if place is None:
                    break
        return rows

    async def _pause(self) -> None:
        self.loop.work()
        await self._clock.sleep(ERASURE_PAUSE_S)


async def note_erased(store: Store, state: Path, clock: Clock) -> list[UserId]:
    """Bring the record of erasures in the state folder and that in the database together.

    A user whom a restored backup has again is shut out at once.

    Returns:
        users who are to be erased, and still have rows.
    """
    file = state / ERASED_FILE
    known = {UserId(line) for line in file.read_text("utf-8").split()} if file.exists() else set()
    recorded = await store.read(user_data.recorded_erasures)
    if recorded - known:
        lines = "".join(f"{id}\n" for id in sorted(known | recorded))
        write_atomically(file, lines.encode(), mode=0o600)
    present = await store.read(user_data.present_users, known | recorded)
    for user_id in (id for id in present if id not in recorded):
        log.warning("user.erased_again", user_id=user_id)
        await store.write(user_data.shut_out, user_id, at=now_ms(clock), actor="hub")
    return present
