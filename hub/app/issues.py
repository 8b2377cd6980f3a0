"""Registration of all checks for issues, with the facts that they examine."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from hub import open_files
from hub.accounts.desk import Accounts
from hub.app.boot import Boot
from hub.app.context import Context
from hub.app.coordination import Coordination
from hub.app.model import ModelsInUse
from hub.app.supervisor import Failures
from hub.app.tls import Tls
from hub.clock import Clock, now_ms
from hub.health import doors, external, limits, machine, records, settings, work
from hub.health.doors import Arrived
from hub.health.issues import Finding, Issues, lasting
from hub.links.refusals import RefusedPeer
from hub.links.roster import SharedRoots, Takeovers
from hub.runs.budget import Reached
from hub.runs.span_export import SpanExport
from hub.runs.waiting import describe_hold
from protocol.ids import UserId
from storage import changes, issue_mutes
from storage.runs.run_locks import Offered
from storage.store import Store

SETTLED_S: Final = 600.0  # by then devices reconnected after a start of the hub, and due schedules fired


def watch_for_issues(
    issues: Issues,
    context: Context,
    start: Boot,
    *,
    failures: Callable[[], Mapping[str, Failures]],
    stops: Callable[[], Iterable[Finding]],
    takeovers: Takeovers,
    shut_out: Callable[[], Iterable[tuple[str, float]]],
    refused: Callable[[], Iterable[RefusedPeer]],
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
    store, add = context.store, issues.add
    issues.read_muted = partial(_muted, store, context.clock)
    issues.note_changes = partial(_note_changes, store)
    in_use = context.watch_settings.reloader
    issues.watch(lambda now: stops())
    issues.watch(partial(limits.check_services, failures))
    issues.watch(partial(settings.check_reload, in_use))
    issues.watch(partial(work.check_hold, partial(_held, start)))
    add("open files", partial(machine.check_open_files, _open_files, open_files.limit))
    add("state folder", partial(machine.check_folder, context.state))
    add("log", machine.check_log(lambda: context.log.dropped))
    if context.clock_watch is not None:
        issues.watch(partial(machine.check_clock, context.clock_watch))
    add("watchdog", partial(machine.check_watchdog, context.manager.is_managed, context.manager.watchdog_s))
    add("restart", partial(settings.check_waiting, in_use))
    add("settings", partial(settings.check_warnings, in_use))
    add("declarations", partial(settings.check_declarations, store, context.node.id))
    add("nodes", partial(records.check_nodes, store))
    add("revisions", partial(settings.check_revisions, store))
    add("listeners", partial(settings.check_listeners, in_use))
    add("certificates", partial(settings.check_certificates, tls.in_use))
    add("tokens", partial(doors.check_tokens, store))
    add("pairings", partial(doors.check_pairings, store))
    add("names of devices", partial(doors.check_device_names, store))
    add("paths of agents", partial(doors.check_shared_paths, store, shared))
    add("grants of devices", partial(doors.check_grants, store))
    add("questions", partial(work.check_questions, store))
    add("flapping devices", partial(doors.check_flapping, store, arrived.flapping))
    add("refused devices", partial(doors.check_refused, store, refused))
    add("absent devices", lasting(partial(doors.check_absence, store), context.clock, SETTLED_S))
    add("copied keys", partial(doors.check_copies, store))
    add("takeovers", partial(doors.check_takeovers, store, takeovers.waiting))
    add("limits", limits.check_limits(context.metrics.reached, lambda: in_use.current.limits))
    add("event loop", partial(limits.check_loop, context.metrics.loop))
    add("attempts", partial(limits.check_shut_out, shut_out))
    add("schedules", partial(work.check_schedules, store))
    add("emptied folders", partial(work.check_emptied, store))
    add("overdue schedules", lasting(partial(work.check_overdue, store), context.clock, SETTLED_S))
    add("agents", partial(work.check_agents, store, reached_budgets))
    add("runs of agents", partial(work.check_failing, store))
    add("needs", partial(work.check_needs, store, offered))
    add("silent agents", partial(work.check_silence, store, offered))
    add("budgets", partial(work.check_budgets, store, reached_budgets))
    add("database", partial(records.check_wal, store))
    add("backups", partial(records.check_backup, store))
    add("audit log", records.check_chain(store))
    add("rows", records.check_rows(store))
    add("agreements", partial(records.check_agreements, store))
    fleet, monitor = coordination.fleet, coordination.monitor
    add("gateways", partial(external.check_gateways, store, fleet.health, monitor.lost_since))
    add(
        "agents of gateways",
        partial(external.check_gateway_agents, store, lambda: in_use.current.coordination.reply_url),
    )
    add("keys", partial(external.check_keys, accounts))
    add("files of connectors", partial(external.check_files, store, accounts))
    add("connectors", partial(external.check_connectors, store, accounts.way_in))
    add("models", partial(external.check_circuits, models_in_use.breakers))
    add("runs that wait for models", partial(external.check_waiting_runs, store, away))
    if spans is not None:
        add("spans", partial(external.check_spans, spans))
    add("bus", partial(external.check_bus, bus_lost))
    add("endpoints of models", partial(external.check_reach, models_in_use.reach), online=True)


async def _muted(store: Store, clock: Clock) -> Collection[str]:
    return (await store.read(issue_mutes.list_mutes, now_ms(clock))).keys()


async def _note_changes(store: Store, changed: Iterable[tuple[str, UserId | None]]) -> None:
    await store.write(changes.note, changes.ISSUES, changed)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _held(start: Boot, now: datetime) -> str | None:
    return None if start.hold is None else describe_hold(start.hold, now)
