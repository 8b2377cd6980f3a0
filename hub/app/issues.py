"""Registration of all checks for issues, with the facts that they examine."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from hub import open_files
from hub.accounts.desk import Accounts
from hub.app.boot import Boot, Context
from hub.app.coordination import Coordination
from hub.app.listeners import Tls
from hub.app.model import ModelsInUse
from hub.clock import Clock, now_ms
from hub.health import doors, external, machine, records, work
from hub.health.doors import Arrived
from hub.health.issues import Check, Finding, Issues, Source, lasting
from hub.links.refusals import RefusedPeer
from hub.links.roster import SharedRoots, Takeovers
from hub.runs.budget import Reached
from hub.runs.sentences import describe_hold
from hub.runs.span_export import SpanExport
from hub.supervisor import Failures
from protocol.ids import UserId
from storage import changes, issue_mutes
from storage.runs.run_locks import Offered
from storage.store import Store

SETTLED_S: Final = 600.0  # by then due schedules fired after a start of the hub
RECONNECTED_S: Final = 120.0  # by then devices reconnected after a start


def watch_for_issues(
    issues: Issues,
    context: Context,
    start: Boot,
    *,
    failures: Callable[[], Mapping[str, Failures]],
    stops: Callable[[], Iterable[Finding]],
    takeovers: Takeovers,
    shut_out: Callable[[], Iterable[tuple[str, float]]],
    refused: Callable[[], Sequence[RefusedPeer]],
    arrived: Arrived,
    shared: SharedRoots,
    tls: Tls,
    models_in_use: ModelsInUse,
    reached_budgets: Callable[[], Iterable[Reached]],
    offered: Callable[[], Offered],
    away: external.Away,
    coordination: Coordination,
    accounts: Accounts,
    spans: SpanExport | None,
    bus_lost: Callable[[], tuple[datetime | None, str]],
) -> None:
    """Register every check in *issues*.

    Args:
        failures: returns the failures of restarted services.
        stops: returns the conditions in which the hub starts no run.
        shut_out: returns the locked-out clients with the seconds to wait.
        refused: returns the peers that were refused lately.
        reached_budgets: returns the daily budgets that are used up.
        offered: returns the capabilities of connected devices.
        away: returns why no model is asked.
        spans: sends spans of runs to a receiver; None: the settings name none.
        bus_lost: returns since when the bus between the nodes is away, and why.
    """
    store = context.store
    issues.read_muted = partial(_muted, store, context.clock)
    issues.note_changes = partial(_note_changes, store)
    in_use = context.watch_settings.reloader
    sources: list[Source] = [
        lambda now: stops(),
        partial(machine.check_services, failures),
        partial(doors.check_reload, in_use),
        partial(work.check_hold, partial(_held, start)),
    ]
    if context.clock_watch is not None:
        sources.append(partial(machine.check_clock, context.clock_watch))
    for source in sources:
        issues.watch(source)
    manager, fleet, monitor = context.manager, coordination.fleet, coordination.monitor
    checks: dict[str, Check] = {
        "open files": partial(machine.check_open_files, _open_files, open_files.limit),
        "state folder": partial(machine.check_folder, context.state),
        "log": machine.check_log(lambda: context.log.dropped),
        "watchdog": partial(machine.check_watchdog, manager.is_managed, manager.watchdog_s),
        "restart": partial(doors.check_waiting, in_use),
        "settings": partial(doors.check_warnings, in_use),
        "declarations": partial(doors.check_declarations, store, context.node.id),
        "nodes": partial(records.check_nodes, store),
        "revisions": partial(doors.check_revisions, store),
        "listeners": partial(doors.check_listeners, in_use),
        "certificates": partial(doors.check_certificates, tls.in_use),
        "tokens": partial(doors.check_tokens, store),
        "pairings": partial(doors.check_pairings, store),
        "names of devices": partial(doors.check_device_names, store),
        "paths of agents": partial(doors.check_shared_paths, store, shared),
        "grants of devices": partial(doors.check_grants, store),
        "questions": partial(work.check_questions, store),
        "flapping devices": partial(doors.check_flapping, store, arrived.flapping),
        "refused devices": partial(doors.check_refused, store, refused),
        "absent devices": lasting(partial(doors.check_absence, store), context.clock, RECONNECTED_S),
        "copied keys": partial(doors.check_copies, store),
        "takeovers": partial(doors.check_takeovers, store, takeovers.waiting),
        "limits": machine.check_limits(context.metrics.reached, lambda: in_use.current.limits),
        "event loop": partial(machine.check_loop, context.metrics.loop),
        "attempts": partial(machine.check_shut_out, shut_out),
        "schedules": partial(work.check_schedules, store),
        "emptied folders": partial(work.check_emptied, store),
        "overdue schedules": lasting(partial(work.check_overdue, store), context.clock, SETTLED_S),
        "agents": partial(work.check_agents, store, reached_budgets),
        "runs of agents": partial(work.check_failing, store),
        "needs": partial(work.check_needs, store, offered),
        "silent agents": partial(work.check_silence, store, offered),
        "budgets": partial(work.check_budgets, store, reached_budgets),
        "database": partial(records.check_wal, store),
        "backups": partial(records.check_backup, store),
        "audit log": records.check_chain(store),
        "rows": records.check_rows(store),
        "agreements": partial(records.check_agreements, store),
        "gateways": partial(external.check_gateways, store, fleet.health, monitor.lost_since),
        "agents of gateways": partial(
            external.check_gateway_agents, store, lambda: in_use.current.coordination.reply_url
        ),
        "keys": partial(external.check_keys, accounts),
        "files of connectors": partial(external.check_files, store, accounts),
        "connectors": partial(external.check_connectors, store, accounts.way_in),
        "models": partial(external.check_models, store, models_in_use.breakers, away),
        "bus": partial(external.check_bus, bus_lost),
    }
    if spans is not None:
        checks["spans"] = partial(external.check_spans, spans)
    for name, check in checks.items():
        issues.add(name, check)
    issues.add("endpoints of models", partial(external.check_reach, models_in_use.reach), online=True)


async def _muted(store: Store, clock: Clock) -> Collection[str]:
    return (await store.read(issue_mutes.list_mutes, now_ms(clock))).keys()


async def _note_changes(store: Store, changed: Iterable[tuple[str, UserId | None]]) -> None:
    await store.write(changes.note, changes.ISSUES, changed)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _held(start: Boot, now: datetime) -> str | None:
    return None if start.hold is None else describe_hold(start.hold, now)
