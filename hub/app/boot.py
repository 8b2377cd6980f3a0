"""Start and end of the hub, which recover an earlier boot; and the context that all parts share."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from hub.agents.writing import Moves, reconcile
from hub.api.nouns.logs import Dumper
from hub.app.node import Node
from hub.app.systemd import ServiceManager
from hub.clock import Chance, Clock, IdFactory, from_epoch_ms, now_ms
from hub.drain import Drain
from hub.links.auth import HubKey
from hub.log import Channel, Log
from hub.metrics import Metrics
from hub.runs.clock_watch import ClockWatch
from hub.runs.housekeeping import log_audit_head
from hub.runs.leases import LEASE_MS
from hub.runs.sentences import Hold
from hub.settings.declared import (
    declared_agents,
    declared_connectors,
    declared_gateways,
    declared_templates,
)
from hub.settings.reload import SettingsWatch
from hub.settings.settings import Settings
from hub.version import VERSION
from protocol.ids import BootId, UserId
from storage import audit
from storage.agents import settings_revisions
from storage.devices import devices, nodes
from storage.kernel.database import StorageError
from storage.runs import run_moves
from storage.store import Connection, ObservedDatabase


@dataclass(frozen=True, slots=True)
class Context:
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
    moves: Moves = field(default_factory=Moves)


log = Channel(__name__)

RESTARTS: Final = 3  # starts with crashes between them, in short succession: see Hold

SECRET_BYTES: Final = 32


class Boot(NamedTuple):
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
    hold: Hold | None = None
    hold_until_ms: int = 0


async def begin(context: Context) -> Boot:
    """Recover an earlier boot before any socket is open: requeue its runs and apply hub.toml."""
    store, settings = context.store, context.settings
    if context.clock_watch is not None:
        await context.clock_watch.begin()
    at = now_ms(context.clock)
    is_alone, limits = not store.is_shared, settings.limits
    window_ms = int(limits.restart_hold_s * 1000)
    hub_id = await store.write(nodes.ensure_hub_id, context.ids.fresh())
    secret = await store.write(nodes.ensure_extraction_secret, context.chance.token_bytes(SECRET_BYTES))
    key = HubKey(await store.write(nodes.ensure_key, context.chance.token_bytes(SECRET_BYTES)))
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
        hold = Hold(from_epoch_ms(hold_until_ms), boot.boots_10min, limits.restart_hold_s)
        log.warning("hub.held", boots=boot.boots_10min, seconds=limits.restart_hold_s)
    await store.write(make_beat(context))
    dead = [] if boot.earlier is None else [boot.earlier]
    recovered = await store.write(
        run_moves.recover, boot_id=context.boot_id, at=at, is_alone=is_alone, dead=dead
    )
    close_left = partial(devices.close_left_sessions, boot_id=context.boot_id, is_alone=is_alone)
    while await store.write(close_left, at):
        pass
    log.info(
        "hub.recovered",
        requeued=len(recovered.requeued),
        cancelled=len(recovered.cancelled),
        failed=len(recovered.failed),
    )
    shared = context.watch_settings.reloader.shared
    number = None if shared is None else shared.number
    user_id = await store.write(devices.ensure_user, UserId(context.ids.fresh()), devices.OWNER, at)
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
    return Boot(user_id, hub_id, secret, key, hold, hold_until_ms)


def make_beat(context: Context) -> Callable[[Connection], None]:
    """Return the job that renews the lease of this process."""
    ttl_ms = LEASE_MS if context.store.is_shared else nodes.ALONE_MS
    return partial(nodes.beat, node_id=context.node.id, boot_id=context.boot_id, ttl_ms=ttl_ms)


async def end(context: Context) -> None:
    """Record the clean end of this boot for the next start."""
    at = now_ms(context.clock)
    try:
        await context.store.write(nodes.end_boot, context.node.id, context.boot_id, at)
    except StorageError as exc:  # the next start takes it for a crash
        log.error("hub.end_not_recorded", exc=exc)
