"""Erasure of users: their rows are deleted in small transactions, again after an older backup is restored.

The decision is an entry of the audit log, with the id of the user alone. A file in the state folder has the
ids, too: a backup that is restored may be older than the entry. Each start compares the two, so an erasure
that was interrupted goes on, and one that a restored backup does not know is repeated.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from hub.atomic_file import write_atomically
from hub.clock import Clock, epoch_ms
from hub.log import Channel
from hub.rounds import Rounds
from protocol.errors import CodedError
from protocol.ids import RunId, UserId
from storage import user_data
from storage.kernel.database import written_for
from storage.store import Store

log = Channel(__name__)

FILE: Final = "erased-users"  # in the state folder: an id on each line; no backup replaces it
EVERY_S: Final = 3_600.0  # another node may have recorded an erasure
PAUSE_S: Final = 0.02  # after each transaction, to let other writers in
WAIT_S: Final = 60.0  # for executing runs to end
POLL_S: Final = 0.5


class Erasures:
    """Service that erases users.

    Args:
        cancel: cancels a run, as an operator does.
    """

    def __init__(
        self, store: Store, state: Path, *, cancel: Callable[..., Awaitable[Any]], clock: Clock
    ) -> None:
        self.turns = Rounds(clock)
        self._store = store
        self._state = state
        self._cancel = cancel
        self._clock = clock

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Delete erased users until cancelled."""
        task_status.started()
        with written_for("erasure"):
            await self.turns.serve(self.erase_all, of="erasure", every_s=EVERY_S)

    async def erase_all(self) -> None:
        """Delete all rows of every user whose erasure is recorded."""
        for user_id in await note_erased(self._store, self._state, self._clock):
            await self._stop_work(user_id)
            rows = await self._forget(user_id)
            while went := await self._delete(user_id):  # what was written meanwhile is found again
                rows += went
            log.info("user.erased", user_id=user_id, rows=rows)

    async def _delete(self, user_id: UserId) -> int:
        """Delete the rows of a user in all tables once. Return their number."""
        rows = 0
        for table in user_data.ORDER:
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
        until, asked = self._clock.monotonic() + WAIT_S, set[RunId]()
        stop = partial(user_data.stop_work, user_id=user_id, at=self._now_ms())
        while True:
            is_active, live = await self._store.write(stop)
            for run_id in {*live} - asked:
                with suppress(CodedError):  # it has ended meanwhile
                    await self._cancel(run_id, actor="hub", reason="its user is erased")
            asked |= {*live}
            if not is_active and (not live or self._clock.monotonic() > until):
                return
            self.turns.work()
            await self._clock.sleep(PAUSE_S if is_active else POLL_S)

    async def _forget(self, user_id: UserId) -> int:
        """Take the user out of rows that are of everybody. Return the number of changed rows."""
        rows = 0
        signs = await self._store.read(user_data.signs_of, user_id)
        for table in user_data.MENTIONING:
            place = None
            while True:
                found, place = await self._store.read(user_data.find_mentions, table, signs, place)
                if found:
                    rows += await self._store.write(user_data.erase_mentions, table, found, at=self._now_ms())
                    await self._pause()
                if place is None:
                    break
        return rows

    async def _pause(self) -> None:
        self.turns.work()
        await self._clock.sleep(PAUSE_S)

    def _now_ms(self) -> int:
        return epoch_ms(self._clock.now())


async def note_erased(store: Store, state: Path, clock: Clock) -> list[UserId]:
    """Bring the record of erasures in the state folder and that in the database together.

    A user whom a restored backup has again is shut out at once.

    Returns:
        users who are to be erased, and still have rows.
    """
    file = state / FILE
    known = _ids_in(file)
    recorded = await store.read(user_data.recorded_erasures)
    if recorded - known:
        lines = "".join(f"{id}\n" for id in sorted(known | recorded))
        write_atomically(file, lines.encode(), mode=0o600)
    present = await store.read(user_data.present_users, known | recorded)
    for user_id in (id for id in present if id not in recorded):
        log.warning("user.erased_again", user_id=user_id)
        await store.write(user_data.shut_out, user_id, at=epoch_ms(clock.now()), actor="hub")
    return present


def _ids_in(file: Path) -> set[UserId]:
    try:
        return {UserId(line) for line in file.read_text("utf-8").split()}
    except FileNotFoundError:
        return set()
