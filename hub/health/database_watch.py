"""Watch of the database: answers, accepts writes, intact pages; how long each may take."""

import math
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.base.clock import Clock, from_epoch_ms, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from hub.base.printable import shell_word
from hub.health.backups import Backups
from hub.health.issues import Finding, error
from protocol.errors import HubError
from storage.devices import nodes
from storage.kernel.database import StorageError, Trouble
from storage.kernel.sqlite import SqliteDatabase, SqliteFiles
from storage.leases import LostLease
from storage.store import Connection, ObservedDatabase

log = Channel(__name__)


EVERY_S: Final = 5.0


WRITE_EVERY_S: Final = 15.0  # an idle hub writes, to learn whether it can


ANSWER_S: Final = 0.03  # of the 50 ms that a load balancer waits for readiness


FRESH_S: Final = 1.0  # its route is public: the database is asked at most this often


SILENT_S: Final = 2.0  # a write that has no answer for so long is an issue


VALID_S: Final = 30.0  # and for so long the hub takes work all the same, as on a busy machine


PAGES_EVERY_S: Final = 10.0


NAMED: Final = 5  # damaged tables


STOP: Final = (
    "stop the hub, and wait until it has ended: hub drain, as a service:"
    " systemctl stop hub.socket hub-admin.socket hub.service"
)
SAVE_S: Final = 30.0  # for the data of a file that was replaced, before the hub ends


PAGES_REST: Final = 50  # times as long as all pages took to read: 2 % of one core at most


class DatabaseWatch:
    """Service that checks the database, whose jobs report errors too, and describes its condition."""

    def __init__(
        self,
        store: ObservedDatabase,
        write: Callable[[Connection], object],
        *,
        clock: Clock,
        backups: Backups,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Create the service.

        Args:
            write: a job that changes a page each time.
            backups: keeps the data of a file that was replaced, and names the backup to restore.
            on_change: called when a condition begins or ends.
        """
        self.loop = PeriodicLoop(clock)
        self._on_change = on_change
        self._store = store
        self._write = write
        self._clock = clock
        self._backups = backups
        self._files = store.database.files if isinstance(store.database, SqliteDatabase) else None
        self._pages_at = self._write_at = clock.monotonic()
        self._answered_at = -math.inf  # monotonic time of the last write that was answered
        self._silent: tuple[float, datetime] | None = (
            None  # monotonic and wall time of the first that was not
        )
        self._more, self._way_out = "", ""  # about a lasting condition
        store.health.on_change = self._changed

    def _changed(self) -> None:
        if (condition := self._store.health.condition) is None:
            log.info("database.works")
        else:
            log.error("database.fails", trouble=condition.trouble, detail=str(condition.error))
            self.loop.wake()
        self._on_change()

    @property
    def finding(self) -> Finding | None:
        """The condition in which the database does not work; None: it works."""
        condition = self._store.health.condition
        if condition is None:
            return self._silence
        stopped = ": the hub writes no more, and starts no run" if condition.is_lasting else ""
        return error(
            f"database.{condition.trouble}",
            f"{condition.error}{self._more}{stopped}",
            fix=self._way_out or condition.error.hint,
            since=from_epoch_ms(condition.since_ms),
            is_stop=True,
        )

    @property
    def _silence(self) -> Finding | None:
        if self._silent is None or (asked_s := self._clock.monotonic() - self._silent[0]) < SILENT_S:
            return None
        return error(
            "database.silent",
            f"the database has not answered a write for {asked_s:.0f} s",
            fix="see whether its disk or server hangs: hub logs --level error; the hub continues by itself",
            since=self._silent[1],
            is_stop=asked_s >= VALID_S,
        )

    async def probe(self, within_s: float | None = None) -> None:
        """Write once, within the time of a load balancer, unless the database has answered just now.

        While there is no answer, ``finding`` says so.
        """
        health = self._store.health
        if health.condition is None and self._clock.monotonic() - self._answered_at >= FRESH_S:
            try:
                with anyio.move_on_after(within_s or ANSWER_S):
                    await self._ask(nodes.touch)
            except StorageError as exc:
                health.failed(exc, is_write=True)
            except LostLease:
                pass  # another service ends this process

    async def _ask(self, write: Callable[[Connection], object]) -> None:
        self._silent = self._silent or (self._clock.monotonic(), self._clock.now())
        await self._store.database.write(write)  # not through *store*: it is no news
        self._silent, self._answered_at = None, self._clock.monotonic()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check until cancelled."""
        task_status.started()
        try:
            await self.loop.serve(self.check, of="database", every_s=EVERY_S)
        finally:  # its file may have been replaced since the last check
            self._pages_at = math.inf
            with anyio.move_on_after(SAVE_S, shield=True):
                await self.check()

    async def check(self) -> None:
        """Check once; the results are the condition of the database."""
        health, files = self._store.health, self._files
        try:
            are_pages_read = files is None
            if files is not None:
                files.check()
                if health.condition is not None and health.condition.trouble == "replaced":
                    health.end_condition()  # the file was put back
                files.check_header()
                are_pages_read = await self._check_pages(files)
            condition = health.condition
            if condition is not None or self._clock.monotonic() >= self._write_at:
                self._write_at = self._clock.monotonic() + WRITE_EVERY_S
                health.check_writable()
                await self._ask(self._write)
                if condition is not None and (condition.is_of_write or are_pages_read):
                    health.end_condition()
        except StorageError as exc:
            health.failed(exc, is_write=True)
        except LostLease:
            pass  # another service ends this process
        if health.condition is None:
            self._more = self._way_out = ""
        elif health.condition.is_lasting and files is not None and not self._way_out:
            self._more, self._way_out = await self._find_more(files, health.condition.trouble)

    async def _check_pages(self, files: SqliteFiles) -> bool:
        """Read all pages, if that is due. Return True if they could be read now."""
        began = self._clock.monotonic()
        condition = self._store.health.condition
        if began < self._pages_at or (condition is not None and condition.is_lasting):
            return False
        self.loop.wait()  # a large file takes its time, in a thread
        try:
            await anyio.to_thread.run_sync(files.check_pages)
        except StorageError as exc:
            self._store.health.failed(exc, is_write=False)
            return False
        finally:
            ended = self._clock.monotonic()
            self._pages_at = ended + max(PAGES_EVERY_S, PAGES_REST * (ended - began))
        return True

    async def _find_more(self, files: SqliteFiles, trouble: Trouble) -> tuple[str, str]:
        """Save the data if a file was replaced, else name the damaged tables.

        Returns:
            Words about it, and the commands after which a hub goes on with the most data that is left.
        """
        words = step = ""
        if trouble == "damaged":
            tables = await anyio.to_thread.run_sync(files.damaged_tables)
            words = f"; tables: {', '.join(tables[:NAMED])}" if tables else ""
        elif saved := await self._save(files):
            words = f"; what it had is in {saved}"
            if saved == files.path:
                return words, f"{STOP}; start it again: hub serve"
            if saved.parent == files.path.parent:
                step = f"put it back: mv {shell_word(saved)} {shell_word(files.path)}"
        step = step or await self._backups.way_to_restore()
        if trouble == "replaced" and files.path.exists():
            step += "; or keep the file that is there now"
        return words, f"{STOP}; {step}; start it again: hub serve"

    async def _save(self, files: SqliteFiles) -> Path | None:
        """Keep the data of a file that lost its name. Return where it is, or None if it cannot be saved."""
        saved: Path | None = None
        copy = files.path.with_name(f"{files.path.name}.saved-{now_ms(self._clock)}")
        try:
            # Its folder may have been removed with it.
            await anyio.to_thread.run_sync(partial(copy.parent.mkdir, 0o700, parents=True, exist_ok=True))
            assert isinstance(self._store.database, SqliteDatabase)
            is_lost = await self._store.database.save_replaced(copy)
            saved = copy if is_lost else files.path
            if is_lost:
                saved = await self._backups.keep_saved(copy)
        except (HubError, OSError) as exc:
            log.error("database.not_saved", exc=exc)
        if saved is not None:
            log.warning("database.saved", file=str(saved))
        return saved
