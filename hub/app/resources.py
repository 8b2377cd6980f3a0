"""The nouns of the operators' interface, over the services of a hub."""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from hub.accounts.connector_accounts import Accounts
from hub.accounts.key_sharing import KeySharing
from hub.accounts.sign_in import SignIns
from hub.agents.heartbeats import Heartbeats
from hub.agents.measurements import MeasurementService as MeasurementStore
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import rules_of
from hub.api.others import Ask, Others
from hub.api.resource import Hub
from hub.api.resources.agent_configs import AgentConfigs, Capabilities, Checkpoints
from hub.api.resources.agent_status import AgentDocuments, AgentHeartbeats, AgentStatuses
from hub.api.resources.agents import Agents, Templates
from hub.api.resources.assistants import AssistantMessages, Authorizations
from hub.api.resources.config import Config, Revisions
from hub.api.resources.connectors import Connectors, Keys
from hub.api.resources.costs import AgentPreviews, Costs, Why
from hub.api.resources.device_calls import DeviceCalls
from hub.api.resources.devices import Connections, Receipts
from hub.api.resources.issues import Issues
from hub.api.resources.item_proposals import ItemProposals
from hub.api.resources.items import DeviceTables, Items
from hub.api.resources.locks import Locks
from hub.api.resources.logs import Debug, Events, Logs
from hub.api.resources.measurements import HubSeries, Measurements
from hub.api.resources.notify import Deliveries, Notify
from hub.api.resources.overviews import ActivityLog, AuditLog, Changes, Overviews, Summaries
from hub.api.resources.runs import Runs, Traces
from hub.api.resources.schedules import Plans, Schedules, Slots
from hub.api.resources.system import About, Handbook, Nodes, System, Upkeep, Where
from hub.api.resources.tokens import PagesAt
from hub.api.waiting import Waiting
from hub.app.boot import HubContext, StartResult
from hub.app.device_news import DeviceNews
from hub.app.identity import IdentityResources
from hub.app.model import ModelsInUse, shown_model
from hub.app.parts import PluggedPart
from hub.app.work import Work
from hub.base.loop_lag import LoopLag
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.values import HostPort
from hub.health import records
from hub.health.backups import Backups
from hub.health.issues import IssueRegistry as FoundIssues
from hub.links.key_rotation import KeyRotation
from hub.links.roster import Roster
from hub.notify.notifier import Notifier
from hub.runs.explaining import Explainer
from hub.settings.reading import FileLines
from hub.settings.settings import Settings
from storage.kernel.address import shown

if TYPE_CHECKING:
    from hub.api.http.authorization import Authorization


def make_resources(
    context: HubContext,
    start: StartResult,
    *,
    work: Work,
    models_in_use: ModelsInUse,
    roster: Roster,
    identity: IdentityResources,
    coordination: PluggedPart,
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
        *identity.resources,
        *coordination.make_nouns(agents.view, lambda: writer.limits),
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
            is_gateway_ready=coordination.is_gateway_ready,
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


def _authorization(context: HubContext) -> "Authorization":
    # Imported where it is used alone, as the package ``mcp`` is.
    from hub.api.http.authorization import DOCUMENT_BYTES, Authorization

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
    return f"{'https' if at.is_encrypted else 'http'}://{HostPort(at.host, at.port)}"
