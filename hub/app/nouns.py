"""The nouns of the operators' interface, and all checks for issues, over the services of a hub.

Registration of all checks for issues, with the facts that they examine.
"""

import math
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from hub.accounts.desk import Accounts
from hub.accounts.keys import KeySharing
from hub.accounts.sign_in import SignIns
from hub.agents.heartbeats import Heartbeats
from hub.agents.measurements import Measurements as MeasurementStore
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import rules_of
from hub.api.noun import Hub
from hub.api.nouns.agent_configs import AgentConfigs, Capabilities, Checkpoints
from hub.api.nouns.agent_status import AgentDocuments, AgentHeartbeats, AgentStatuses
from hub.api.nouns.agents import Agents, Templates
from hub.api.nouns.assistants import AssistantMessages, Authorizations
from hub.api.nouns.config import Config, Revisions
from hub.api.nouns.connectors import Connectors, Keys
from hub.api.nouns.costs import AgentPreviews, Costs, Why
from hub.api.nouns.device_calls import DeviceCalls
from hub.api.nouns.devices import Connections, Receipts
from hub.api.nouns.issues import Issues
from hub.api.nouns.item_proposals import ItemProposals
from hub.api.nouns.items import DeviceTables, Items
from hub.api.nouns.locks import Locks
from hub.api.nouns.logs import Debug, Events, Logs
from hub.api.nouns.measurements import HubSeries, Measurements
from hub.api.nouns.notify import Deliveries, Notify
from hub.api.nouns.overviews import ActivityLog, AuditLog, Changes, Overviews, Summaries
from hub.api.nouns.runs import Runs, Traces
from hub.api.nouns.schedules import Plans, Schedules, Slots
from hub.api.nouns.system import About, Handbook, Nodes, System, Upkeep, Where
from hub.api.nouns.tokens import PagesAt
from hub.api.others import Ask, Others
from hub.api.waiting import Waiting
from hub.app.boot import Boot, Context
from hub.app.coordination import Coordination
from hub.app.device_news import DeviceNews
from hub.app.listeners import Identity, Tls
from hub.app.model import ModelsInUse, shown_model
from hub.app.work import Work
from hub.base import open_files
from hub.base.clock import epoch_ms
from hub.base.loop_lag import LoopLag
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.supervisor import Failures
from hub.base.toml.values import Address
from hub.health import doors, external, machine, records, work
from hub.health.backups import FOLDER, Backups
from hub.health.doors import Arrived
from hub.health.issues import Check, Finding, Source, lasting
from hub.health.issues import Issues as FoundIssues
from hub.health.records import DatabaseWatch
from hub.links.auth import KeyRotation
from hub.links.refusals import RefusedPeer
from hub.links.roster import DeviceLink, Roster, SharedRoots, Takeovers
from hub.notify.notifier import Notifier
from hub.runs.budget import Reached
from hub.runs.explaining import Explainer
from hub.runs.sentences import describe_hold
from hub.runs.span_export import SpanExport
from hub.settings.reading import FileLines
from hub.settings.settings import Settings
from protocol.ids import UserId
from storage import changes
from storage.deliveries import OpenIssue
from storage.kernel.address import shown
from storage.runs.run_locks import Offered
from storage.store import Store

if TYPE_CHECKING:
    from hub.api.door.authorization import Authorization
    from hub.cluster.bus import Bus


def make_nouns(
    context: Context,
    start: Boot,
    *,
    work: Work,
    models_in_use: ModelsInUse,
    roster: Roster,
    identity: Identity,
    coordination: Coordination,
    news: DeviceNews,
    rotation: KeyRotation,
    writer: AgentWriter,
    lines: FileLines,
    heartbeats: Heartbeats,
    measurements: MeasurementStore,
    accounts: Accounts,
    sign_ins: SignIns,
    sharing: KeySharing,
    issues: FoundIssues,
    backups: Backups,
    notifier: Notifier,
    probe: Callable[[], Awaitable[None]],
    lag: LoopLag,
    where: Callable[[], Where | None],
    ask: Ask | None,
) -> Hub:
    """Create the nouns.

    Args:
        where: returns the addresses of the listeners, once they listen.
        ask: sends a request to another node; None: there is no bus.
    """
    store, clock, ring = context.store, context.clock, context.log.ring
    dispatcher, control, scheduler = work.dispatcher, work.control, work.scheduler
    reloader = context.watch_settings.reloader
    waiting = Waiting(
        dispatcher=dispatcher,
        clock=clock,
        hold=start.hold,
        reached_budgets=work.budgets.reached,
    )
    schedules = Schedules(store=store, scheduler=scheduler)
    runs = Runs(
        store=store, dispatcher=dispatcher, control=control, waiting=waiting, watch=work.watch, clock=clock
    )
    agents = Agents(
        store=store,
        control=control,
        runs=runs,
        schedules=schedules,
        writer=writer,
        rules=lambda: rules_of(reloader.current),
        lines=lines,
    )
    gateways = coordination.gateways
    gateways.view_of = agents.view
    gateways.limits = lambda: writer.limits
    identity.sessions.pages_at = lambda: _pages_at(where(), reloader.current)
    notifier.pages = lambda: _pages_address(_pages_at(where(), reloader.current))
    audit_log = AuditLog(store, clock)
    about = About(
        hub_id=start.hub_id,
        key=start.key.shown,
        name=context.settings.hub.name,
        model=lambda: shown_model(models_in_use.settings),
        database=shown(context.settings.storage.resolved()),
    )
    upkeep = Upkeep(
        store=store,
        executing=lambda: dispatcher.executing,
        drain=context.drain,
        backups=backups,
        clock=clock,
    )
    others = Others(store, context.boot_id, ask)
    issues.add("nodes", partial(records.check_nodes, others.list_nodes))
    hub = Hub(store, clock, others)
    hub.add(
        *identity.nouns,
        *coordination.nouns,
        gateways,
        agents,
        runs,
        schedules,
        audit_log,
        ActivityLog(store),
        AgentConfigs(store, news.configs),
        AgentDocuments(store, heartbeats.last),
        AgentHeartbeats(store, heartbeats, clock),
        AgentPreviews(store=store, roster=roster, previews=work.previews, estimator=work.estimator),
        AssistantMessages(),
        Authorizations(store, clock, identity.operator_tokens, cache(partial(_authorization, context))),
        AgentStatuses(
            store=store,
            control=control,
            agents=agents,
            lines=lines,
            last_heartbeat=heartbeats.last,
        ),
        Capabilities(store, work.capabilities, lines),
        Changes(store=store, clock=clock, boot_id=context.boot_id),
        Checkpoints(store, work.checkpoints),
        Config(reloader, store, context.node.id),
        Revisions(reloader, store),
        Connections(news.events, rotation),
        Receipts(store, clock, lambda: reloader.current.retention.activity_days),
        Connectors(store, accounts, sign_ins, clock=clock),
        Costs(store=store, clock=clock),
        Debug(context.debug, audit_log),
        Why(store, roster=roster, explainer=Explainer(work.previews), others=others, clock=clock),
        Events(store=store, ring=ring, clock=clock, boot_id=context.boot_id),
        Handbook(),
        HubSeries(store, measurements),
        Issues(issues, store, clock),
        Items(
            store,
            roster=roster,
            clock=clock,
            ids=context.ids,
            metrics=context.metrics,
            seals=work.seals,
            reporting=work.agreements.reporting,
            on_given=work.verdicts.recheck,
            tables=lambda: work.extractor.tables,
        ),
        DeviceCalls(store, roster=roster, clock=clock, ids=context.ids, tables=lambda: work.extractor.tables),
        ItemProposals(store, clock=clock, ids=context.ids, tables=lambda: work.extractor.tables),
        Keys(store, accounts, sharing, clock=clock),
        Locks(store, work.locks, clock=clock),
        Logs(ring, store, context.log.file),
        Measurements(store, measurements),
        targets := Notify(store, notifier, clock=clock, ids=context.ids),
        Deliveries(store, targets),
        Nodes(store, upkeep, here=context.node.id, clock=clock),
        Overviews(hub),
        Plans(store=store, scheduler=scheduler, clock=clock),
        Slots(store=store, scheduler=scheduler),
        Summaries(hub, store, clock),
        System(
            hub,
            store,
            about=about,
            clock=clock,
            roster=roster,
            dispatcher=dispatcher,
            drain=context.drain,
            reloader=reloader,
            where=where,
            issues=issues,
            probe=probe,
            lag=lag,
        ),
        DeviceTables(store, lambda: work.extractor.tables),
        Templates(store=store, writer=writer, lines=lines),
        Traces(store),
        upkeep,
    )
    return hub


def _authorization(context: Context) -> "Authorization":
    # Imported where it is used alone, as the package ``mcp`` is.
    from hub.api.door.authorization import DOCUMENT_BYTES, Authorization

    # Any person who is signed in names an address: none of them is of this machine.
    rules = OutboundRules.parse(context.settings.outbound.allow, may_call_here=False)
    http = partial(OutboundClient, rules, max_answer_bytes=DOCUMENT_BYTES)
    registered = context.settings.listen.operator.assistant_clients
    return Authorization(context.store, context.clock, context.chance, http, registered)


def _pages_at(where: Where | None, settings: Settings) -> PagesAt | None:
    """Return where browsers find the pages: by the name that the certificate is for, if there is one."""
    if where is None:
        return None
    listener = settings.listen.operator
    is_encrypted = listener.tls is not None
    if is_encrypted and listener.hosts:
        host = listener.hosts[0]
    else:
        host = "" if where.operator.host in ("0.0.0.0", "::") else where.operator.host
    return PagesAt(host, where.operator.port, is_encrypted)


def _pages_address(at: PagesAt | None) -> str | None:
    if at is None or not at.host:
        return None
    return f"{'https' if at.is_encrypted else 'http'}://{Address(at.host, at.port)}"


SETTLED_S: Final = 600.0  # by then due schedules fired after a start of the hub
RECONNECTED_S: Final = 120.0  # by then devices reconnected after a start


def watch_for_issues(
    issues: FoundIssues,
    context: Context,
    start: Boot,
    *,
    failures: Callable[[], Mapping[str, Failures]],
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
    coordination: Coordination,
    accounts: Accounts,
    spans: SpanExport | None,
    notifier: Notifier,
    bus: "Bus | None",
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
    issues.note_changes = partial(_note_changes, store)
    issues.on_found = partial(_notify, notifier, issues)
    in_use = context.watch_settings.reloader
    sources: list[Source] = [
        lambda now: stops(),
        partial(machine.check_services, failures),
        partial(doors.check_reload, in_use),
        partial(work.check_hold, partial(_held, start)),
    ]
    if context.clock_watch is not None:
        sources.append(partial(machine.check_clock, context.clock_watch))
    if bus is not None:
        sources.append(lambda now: external.check_bus(bus.lost_since, bus.problem))
        issues.add("bus", partial(_ask_server, bus.check))
    for source in sources:
        issues.watch(source)
    manager, fleet, monitor = context.manager, coordination.fleet, coordination.monitor
    checks: dict[str, Check] = {
        "open files": partial(
            machine.check_open_files, lambda: len(os.listdir("/proc/self/fd")), open_files.limit
        ),
        "state folder": partial(machine.check_folder, context.state),
        "log": machine.check_log(lambda: context.log.dropped),
        "watchdog": partial(machine.check_watchdog, manager.is_managed, manager.watchdog_s),
        "restart": partial(doors.check_waiting, in_use),
        "settings": partial(doors.check_warnings, in_use),
        "declarations": partial(doors.check_declarations, store, context.node.id),
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
        "versions of devices": partial(doors.check_versions, store, connected),
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
        "answers of the database": partial(_ask_server, partial(database.probe, math.inf)),
        "database": partial(records.check_wal, store),
        "backups": partial(records.check_backup, store),
        "other backups": partial(records.check_other_backups, store, context.state / FOLDER),
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
                *(one.found.key, one.found.id, one.found.subject, one.found.severity, one.found.explanation),
                *(one.found.user_id, epoch_ms(one.since), one.found.key in issues.muted),
            )
            for one in issues.current
        ]
    )


def _held(start: Boot, now: datetime) -> str | None:
    return None if start.hold is None else describe_hold(start.hold, now)
