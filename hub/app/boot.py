"""Start and end of a hub process: crash recovery, pause of work after repeated crashes, node identity.

The third start in short succession, each after a crash, holds work back. ``storage.devices.nodes`` counts the
starts.

Identity of this node in a database that several hubs share, stored in its state folder.

Two processes with one identity would end each other's leases and take over each other's runs. A process that
has the folder's lock knows that its predecessor is dead. A copy of the folder has a lock of its own: then the
lease of the identity shows whether another process lives under it.
"""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from hub.agents.reconciliation import reconcile
from hub.agents.status_moves import AgentMoveListeners
from hub.api.resources.debug import Dumper
from hub.app.systemd import ServiceManager
from hub.base.clock import Chance, Clock, IdFactory, from_epoch_ms, now_ms
from hub.base.listen_errors import AnotherHub
from hub.base.log import Channel, Log
from hub.base.metrics import Metrics
from hub.base.supervisor import Drain
from hub.base.version import VERSION
from hub.links.hub_key import HubKey
from hub.runs.clock_watch import ClockWatch
from hub.runs.housekeeping import log_audit_head, note_erased
from hub.runs.leases import LEASE_MS, RENEW_EVERY_S, RETRY_S
from hub.runs.wait_sentences import CrashHold
from hub.settings.declared import declared_agents, declared_connectors, declared_gateways, declared_templates
from hub.settings.reload import SettingsWatch
from hub.settings.settings import Settings
from protocol.ids import BootId, NodeId, UserId
from storage import audit
from storage import leases as storage_leases
from storage.devices import nodes, settings_revisions, users
from storage.effects import sessions
from storage.kernel import identity as kernel_identity
from storage.kernel.database import Database, StorageError
from storage.runs import run_moves
from storage.store import Connection, ObservedDatabase

log = Channel(__name__)

FILE: Final = "node_id"
_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")  # changes when the machine starts
_CHECK_S: Final = 1.0


class Node:
    """Node with a state folder, which is locked until ``close``.

    Attributes:
        is_moved: True if the identity was last used in another folder, or before the machine started.

    Raises:
        AnotherHub: another process has the folder.
    """

    def __init__(self, state: Path, ids: IdFactory) -> None:
        import fcntl  # imported here: Windows has none

        self._path = state / FILE
        self._path.touch(mode=0o600)
        self._file = self._path.open("r+", encoding="ascii")
        try:
            fcntl.flock(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # released with the process, however it ends
        except BlockingIOError:
            self._file.close()
            raise AnotherHub(state) from None
        known, is_whole, place = self._file.read().partition("\n")
        self._here = _place(state)
        self.id = NodeId(known if is_whole else ids.fresh())
        self.is_moved = bool(is_whole) and place != f"{self._here}\n"
        if not is_whole:
            self._write_at(0, f"{self.id}\n{self._here}\n")

    async def claim(self, database: Database, clock: Clock) -> None:
        """Wait until it is certain that no other process lives under this identity, and keep the new place.

        Raises:
            AnotherHub: one does.
        """
        if not self.is_moved:
            return
        known = await database.read(storage_leases.lives_until, self.id) if database.is_shared else None
        until = clock.monotonic() + RENEW_EVERY_S + RETRY_S
        while known is not None and clock.monotonic() < until:
            await clock.sleep(_CHECK_S)
            seen = await database.read(storage_leases.lives_until, self.id)
            if seen is not None and seen > known:
                raise AnotherHub(
                    self._path.parent,
                    f"{self._path.parent} is a copy: a hub with the same identity is running on the same"
                    f" database; remove {self._path} to make this hub a node of its own",
                )
            known = seen
        self._write_at(len(self.id) + 1, f"{self._here}\n")
        self.is_moved = False

    def close(self) -> None:
        """Unlock the folder."""
        self._file.close()

    def _write_at(self, start: int, text: str) -> None:
        """Write the end of the file in place: it bears the lock, and whatever is cut off, the id stays."""
        file = self._file.fileno()
        written = os.pwrite(file, text.encode("ascii"), start)
        if written < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.ftruncate(file, start + written)
        os.fsync(file)


def _place(state: Path) -> str:
    kernel = ""
    with suppress(OSError):  # not on every system
        kernel = _KERNEL.read_text(encoding="ascii").strip()
    folder = os.stat(state)
    return f"{kernel}:{folder.st_dev}:{folder.st_ino}"


@dataclass(frozen=True, slots=True)
class HubContext:
    """Context of a hub: settings, state folder, database, clock and randomness.

    Attributes:
        settings: settings at the hub's start.
        watch_settings: service that changes the settings while the hub runs.
        state: folder with all data of the hub.
        boot_id: id of this start of the hub.
        node: identity of this node, stored in its state folder.
        clock_watch: moves *clock* when the machine's clock was set; None: a test moves it.
        moves: state changes of agents written by this node.
    """

    settings: Settings
    watch_settings: SettingsWatch
    state: Path
    store: ObservedDatabase
    clock: Clock
    chance: Chance
    ids: IdFactory
    boot_id: BootId
    node: Node
    manager: ServiceManager
    drain: Drain
    log: Log
    debug: Dumper
    metrics: Metrics
    clock_watch: ClockWatch | None = None
    moves: AgentMoveListeners = field(default_factory=AgentMoveListeners)


RESTARTS: Final = 3  # starts with crashes between them, in short succession: see Hold

SECRET_BYTES: Final = 32


class StartResult(NamedTuple):
    """Results of a start.

    Attributes:
        user_id: id of the owner.
        secret: key for the delimiters in questions to a model.
        key: key by which devices identify this hub.
        hold: set after repeated crashes; the hub starts no work by itself before ``hold_until_ms``.
    """

    user_id: UserId
    hub_id: str
    secret: bytes
    key: HubKey
    hold: CrashHold | None = None
    hold_until_ms: int = 0


async def begin(context: HubContext) -> StartResult:
    """Recover an earlier boot before any socket is open: requeue its runs and apply hub.toml."""
    store, settings = context.store, context.settings
    if context.clock_watch is not None:
        await context.clock_watch.begin()
    at = now_ms(context.clock)
    is_alone, limits = not store.is_shared, settings.limits
    window_ms = int(limits.restart_hold_s * 1000)
    hub_id = await store.write(kernel_identity.ensure_hub_id, context.ids.fresh())
    secret = await store.write(
        kernel_identity.ensure_extraction_secret, context.chance.token_bytes(SECRET_BYTES)
    )
    key = HubKey(await store.write(kernel_identity.ensure_key, context.chance.token_bytes(SECRET_BYTES)))
    await context.node.claim(store, context.clock)
    # Before the boot is recorded: see begin_chain.
    await store.write(audit.begin_chain, at=at, subject=hub_id)
    await log_audit_head(store)
    boot = await store.write(
        nodes.begin_boot,
        context.node.id,
        context.boot_id,
        at,
        window_ms=window_ms,
        name=settings.cluster.node or socket.gethostname(),
        version=VERSION,
        address=settings.cluster.address,
    )
    hold, hold_until_ms = None, 0
    if boot.boots_10min >= RESTARTS:
        hold_until_ms = at + window_ms
        hold = CrashHold(from_epoch_ms(hold_until_ms), boot.boots_10min, limits.restart_hold_s)
        log.warning("hub.held", boots=boot.boots_10min, seconds=limits.restart_hold_s)
    await store.write(make_beat(context))
    dead = [] if boot.earlier is None else [boot.earlier]
    recovered = await store.write(
        run_moves.recover, boot_id=context.boot_id, at=at, is_alone=is_alone, dead=dead
    )
    close_left = partial(sessions.close_left_sessions, boot_id=context.boot_id, is_alone=is_alone)
    while await store.write(close_left, at):
        pass
    await note_erased(store, context.state, context.clock)
    log.info(
        "hub.recovered",
        requeued=len(recovered.requeued),
        cancelled=len(recovered.cancelled),
        failed=len(recovered.failed),
    )
    shared = context.watch_settings.reloader.shared
    number = None if shared is None else shared.number
    user_id = await store.write(users.ensure_user, UserId(context.ids.fresh()), users.OWNER, at)
    await reconcile(
        store,
        declared_agents(settings),
        user_id=user_id,
        clock=context.clock,
        ids=context.ids,
        templates=declared_templates(settings),
        declared_gateways=declared_gateways(settings),
        declared_connectors=declared_connectors(settings),
        node_id=context.node.id,
        also=partial(settings_revisions.record_use, node_id=context.node.id, number=number),
    )
    return StartResult(user_id, hub_id, secret, key, hold, hold_until_ms)


def make_beat(context: HubContext) -> Callable[[Connection], None]:
    """Return the job that renews the lease of this process."""
    ttl_ms = LEASE_MS if context.store.is_shared else storage_leases.ALONE_MS
    return partial(storage_leases.beat, node_id=context.node.id, boot_id=context.boot_id, ttl_ms=ttl_ms)


async def end(context: HubContext) -> None:
    """Record the clean end of this boot for the next start."""
    at = now_ms(context.clock)
    try:
        await context.store.write(nodes.end_boot, context.node.id, context.boot_id, at)
    except StorageError as exc:  # the next start takes it for a crash
        log.error("hub.end_not_recorded", exc=exc)
