"""Registration of all checks for issues, with the facts that they examine."""

import math
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from hub.accounts.connector_accounts import Accounts
from hub.api.resources.issues import read_mutes
from hub.app.boot import HubContext, StartResult
from hub.app.model_chain import ModelsInUse
from hub.app.parts import PluggedPart
from hub.app.tls import Tls
from hub.base import open_files
from hub.base.clock import epoch_ms
from hub.base.supervisor import ServiceFailures
from hub.cluster.messages import NodeBus
from hub.health import access_checks, backups, external, integrity, machine_and_load, records, work
from hub.health.access_checks import Arrived
from hub.health.backups import FOLDER
from hub.health.database_watch import DatabaseWatch
from hub.health.issues import Check, Finding, Source, lasting
from hub.health.issues import IssueRegistry as FoundIssues
from hub.links.device_link import DeviceLink
from hub.links.refusals import RefusedPeer
from hub.links.roster import SharedRoots, Takeovers
from hub.notify.notifier import Notifier
from hub.runs.budget import Reached
from hub.runs.span_export import SpanExport
from hub.runs.wait_sentences import describe_hold
from protocol.ids import DeviceId, UserId
from storage import changes
from storage.deliveries import OpenIssue
from storage.runs.run_needs import Offered
from storage.store import Store

SETTLED_S: Final = 600.0  # by then due schedules fired after a start of the hub


RECONNECTED_S: Final = 120.0  # by then devices reconnected after a start


def make_issues(context: HubContext, notifier: Notifier) -> FoundIssues:
    """Create the registry of issues, without checks. *notifier* sends those that are found."""
    return FoundIssues(
        clock=context.clock,
        metrics=context.metrics,
        read_muted=partial(read_mutes, context.store, context.clock),
        note_changes=partial(_note_changes, context.store),
        on_found=partial(_notify, notifier),
    )


def watch_for_issues(
    issues: FoundIssues,
    context: HubContext,
    start: StartResult,
    *,
    failures: Callable[[], Mapping[str, ServiceFailures]],
    stops: Callable[[], Iterable[Finding]],
    takeovers: Takeovers,
    shut_out: Callable[[], Iterable[tuple[str, float]]],
    refused: Callable[[], Sequence[RefusedPeer]],
    connected: Callable[[], Sequence[DeviceLink]],
    arrived: Arrived,
    shared: SharedRoots,
    tls: Tls,
    models_in_use: ModelsInUse,
    reached_budgets: Callable[[], Iterable[Reached]],
    offered: Callable[[], Offered],
    away: external.Away,
    coordination: PluggedPart,
    accounts: Accounts,
    spans: SpanExport | None,
    notifier: Notifier,
    bus: NodeBus | None,
    database: DatabaseWatch,
) -> None:
    """Register every check in *issues*.

    Args:
        failures: returns the failures of restarted services.
        stops: returns the conditions in which the hub starts no run.
        shut_out: returns the locked-out clients with the seconds to wait.
        refused: returns the peers that were refused lately.
        connected: returns the connections of devices.
        reached_budgets: returns the daily budgets that are used up.
        offered: returns the capabilities of connected devices.
        away: returns why no model is asked.
        notifier: sends events to the targets of the settings.
        spans: sends spans of runs to a receiver; None: the settings name none.
        bus: connection between the nodes; None: the settings name none.
        database: says whether the database answers.
    """
    store = context.store
    in_use = context.watch_settings.reloader
    sources: list[Source] = [
        lambda now: stops(),
        partial(machine_and_load.check_services, failures),
        partial(access_checks.check_reload, in_use),
        partial(work.check_hold, partial(_held, start)),
    ]
    if context.clock_watch is not None:
        sources.append(partial(machine_and_load.check_clock, context.clock_watch))
    if bus is not None:
        sources.append(lambda now: external.check_bus(bus.lost_since, bus.problem))
        issues.add("bus", partial(_ask_server, bus.check))
    for source in sources:
        issues.watch(source)
    manager = context.manager

    def sharing() -> list[DeviceId]:
        """Return the connected devices, without those of which no folder is there."""
        return [link.device_id for link in connected() if link.roots or not link.missing]

    checks: dict[str, Check] = {
        "open files": partial(
            machine_and_load.check_open_files, lambda: len(os.listdir("/proc/self/fd")), open_files.limit
        ),
        "state folder": partial(machine_and_load.check_folder, context.state),
        "log": machine_and_load.check_log(lambda: context.log.dropped),
        "watchdog": partial(machine_and_load.check_watchdog, manager.is_managed, manager.watchdog_s),
        "restart": partial(access_checks.check_waiting, in_use),
        "settings": partial(access_checks.check_warnings, in_use),
        "declarations": partial(access_checks.check_declarations, store, context.node.id),
        "revisions": partial(access_checks.check_revisions, store),
        "listeners": partial(access_checks.check_listeners, in_use),
        "certificates": partial(access_checks.check_certificates, tls.in_use),
        "tokens": partial(access_checks.check_tokens, store),
        "pairings": partial(access_checks.check_pairings, store),
        "names of devices": partial(access_checks.check_device_names, store),
        "paths of agents": partial(access_checks.check_shared_paths, store, shared),
        "grants of devices": partial(access_checks.check_grants, store),
        "questions": partial(work.check_questions, store),
        "flapping devices": partial(access_checks.check_flapping, store, arrived.flapping),
        "refused devices": partial(access_checks.check_refused, store, refused),
        "versions of devices": partial(access_checks.check_versions, store, connected),
        "folders of devices": partial(access_checks.check_folders, store, connected),
        "absent devices": lasting(partial(access_checks.check_absence, store), context.clock, RECONNECTED_S),
        "copied keys": partial(access_checks.check_copies, store),
        "takeovers": partial(access_checks.check_takeovers, store, takeovers.waiting),
        "limits": machine_and_load.check_limits(context.metrics.reached, lambda: in_use.current.limits),
        "event loop": partial(machine_and_load.check_loop, context.metrics.loop),
        "attempts": partial(machine_and_load.check_shut_out, shut_out),
        "schedules": partial(work.check_schedules, store),
        "emptied folders": partial(work.check_emptied, store),
        "overdue schedules": lasting(partial(work.check_overdue, store), context.clock, SETTLED_S),
        "agents": partial(work.check_agents, store, reached_budgets),
        "runs of agents": partial(work.check_failing, store),
        "needs": partial(work.check_needs, store, offered),
        "silent agents": partial(work.check_silence, store, sharing),
        "budgets": partial(work.check_budgets, store, reached_budgets),
        "answers of the database": partial(_ask_server, partial(database.probe, math.inf)),
        "database": partial(records.check_wal, store),
        "backups": partial(backups.check_backup, store),
        "other backups": partial(backups.check_other_backups, store, context.state / FOLDER),
        "audit log": integrity.check_chain(store),
        "rows": integrity.check_rows(store),
        "agreements": partial(records.check_agreements, store),
        **coordination.make_checks(lambda: in_use.current.coordination.reply_url),
        "keys": partial(external.check_keys, accounts),
        "files of connectors": partial(external.check_files, store, accounts),
        "connectors": partial(external.check_connectors, store, accounts.way_in),
        "models": partial(external.check_models, store, models_in_use.breakers, away),
        "targets": partial(external.check_targets, store, notifier),
    }
    if spans is not None:
        checks["spans"] = partial(external.check_spans, spans)
    for name, check in checks.items():
        issues.add(name, check)
    issues.add("endpoints of models", partial(external.check_reach, models_in_use.reach), online=True)


async def _ask_server(ask: Callable[[], Awaitable[None]], now: datetime) -> Iterable[Finding]:
    """Ask a server whether it answers; a source has the finding if it does not."""
    await ask()
    return []


async def _note_changes(store: Store, changed: Iterable[tuple[str, UserId | None]]) -> None:
    await store.write(changes.note, changes.ISSUES, changed)


async def _notify(notifier: Notifier, issues: FoundIssues) -> None:
    await notifier.issues_found(
        [
            OpenIssue(
                *(found.key, found.id, found.subject, found.severity, found.explanation),
                *(found.user_id, epoch_ms(issue.since), found.key in issues.muted),
            )
            for issue, found in ((issue, issue.found) for issue in issues.current)
        ]
    )


def _held(start: StartResult, now: datetime) -> str | None:
    return None if start.hold is None else describe_hold(start.hold, now)
