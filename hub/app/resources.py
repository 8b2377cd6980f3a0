"""List of all resources of the REST interface, with the services that each gets."""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from hub.accounts.connector_accounts import Accounts
from hub.accounts.key_sharing import KeySharing
from hub.accounts.sign_in import SignIns
from hub.agents.heartbeats import Heartbeats
from hub.agents.measurements import MeasurementService as MeasurementStore
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import common_settings_of
from hub.api.peers import Ask, Peers
from hub.api.resource import ResourceRegistry
from hub.api.resources.activity import ActivityLogResource
from hub.api.resources.agent_configs import AgentConfigsResource
from hub.api.resources.agent_status import AgentDocumentsResource, AgentStatusesResource
from hub.api.resources.agents import AgentsResource, TemplatesResource
from hub.api.resources.assistants import AssistantMessagesResource, AuthorizationsResource
from hub.api.resources.audit_log import AuditLogResource
from hub.api.resources.capabilities import CapabilitiesResource
from hub.api.resources.changes import ChangesResource
from hub.api.resources.checkpoints import CheckpointsResource
from hub.api.resources.config import ConfigResource, RevisionsResource
from hub.api.resources.connectors import ConnectorsResource
from hub.api.resources.costs import CostsResource
from hub.api.resources.debug import DebugResource
from hub.api.resources.device_calls import DeviceCallsResource
from hub.api.resources.device_events import ConnectionsResource
from hub.api.resources.handbook import HandbookResource
from hub.api.resources.heartbeats import AgentHeartbeatsResource
from hub.api.resources.hub_events import EventsResource
from hub.api.resources.issues import IssuesResource
from hub.api.resources.item_proposals import ItemProposalsResource
from hub.api.resources.items import DeviceTablesResource, ItemsResource
from hub.api.resources.locks import LocksResource
from hub.api.resources.logs import LogsResource
from hub.api.resources.measurements import HubSeriesResource, MeasurementsResource
from hub.api.resources.nodes import NodesResource, UpkeepResource
from hub.api.resources.notify import DeliveriesResource, NotifyResource
from hub.api.resources.overviews import OverviewsResource
from hub.api.resources.previews import AgentPreviewsResource
from hub.api.resources.receipts import ReceiptsResource
from hub.api.resources.runs import RunsResource, TracesResource
from hub.api.resources.schedules import PlansResource, SchedulesResource, SlotsResource
from hub.api.resources.sealing_keys import KeysResource
from hub.api.resources.summaries import SummariesResource
from hub.api.resources.system import HubInfo, ListenerAddresses, SystemResource
from hub.api.resources.tasks import TasksResource
from hub.api.resources.tokens import PagesAt
from hub.api.resources.why import WhyResource
from hub.api.wait_reasons import WaitReasons
from hub.app.boot import HubContext, StartResult
from hub.app.device_news import DeviceNews
from hub.app.identity import IdentityResources
from hub.app.model_chain import ModelsInUse, shown_model
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
from hub.runs.file_explanations import Explainer
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
    where: Callable[[], ListenerAddresses | None],
    ask: Ask | None,
) -> ResourceRegistry:
    """Create the nouns.

    Args:
        where: returns the addresses of the listeners, once they listen.
        ask: sends a request to another node; None: there is no bus.
    """
    store, clock, ring = context.store, context.clock, context.log.ring
    dispatcher, control, scheduler = work.dispatcher, work.control, work.scheduler
    reloader = context.watch_settings.reloader
    waiting = WaitReasons(
        dispatcher=dispatcher,
        clock=clock,
        hold=start.hold,
        reached_budgets=work.budgets.reached,
    )
    schedules = SchedulesResource(store=store, scheduler=scheduler)
    runs = RunsResource(
        store=store, dispatcher=dispatcher, control=control, waiting=waiting, watch=work.watch, clock=clock
    )
    agents = AgentsResource(
        store=store,
        control=control,
        files=work.file_watch,
        runs=runs,
        schedules=schedules,
        writer=writer,
        rules=lambda: common_settings_of(reloader.current),
        lines=lines,
    )
    audit_log = AuditLogResource(store, clock)
    about = HubInfo(
        hub_id=start.hub_id,
        key=start.key.shown,
        name=context.settings.hub.name,
        model=lambda: shown_model(models_in_use.settings),
        database=shown(context.settings.storage.resolved()),
    )
    upkeep = UpkeepResource(
        store=store,
        executing=lambda: dispatcher.executing,
        drain=context.drain,
        backups=backups,
        clock=clock,
    )
    others = Peers(store, context.boot_id, ask)
    issues.add("nodes", partial(records.check_nodes, others.list_nodes))
    hub = ResourceRegistry(store, clock, others)
    hub.add(
        *identity.resources,
        *coordination.make_nouns(agents.view, lambda: writer.limits),
        agents,
        runs,
        schedules,
        audit_log,
        ActivityLogResource(store),
        AgentConfigsResource(store, news.configs),
        AgentDocumentsResource(store, heartbeats.last),
        AgentHeartbeatsResource(store, heartbeats, clock),
        AgentPreviewsResource(store=store, roster=roster, previews=work.previews, estimator=work.estimator),
        AssistantMessagesResource(),
        AuthorizationsResource(
            store, clock, identity.operator_tokens, cache(partial(_authorization, context))
        ),
        AgentStatusesResource(
            store=store,
            control=control,
            agents=agents,
            lines=lines,
            last_heartbeat=heartbeats.last,
        ),
        CapabilitiesResource(store, work.capabilities, lines),
        ChangesResource(store=store, clock=clock, boot_id=context.boot_id),
        CheckpointsResource(store, work.checkpoints),
        ConfigResource(reloader, store, context.node.id),
        RevisionsResource(reloader, store),
        ConnectionsResource(news.events, rotation),
        ReceiptsResource(store, clock, lambda: reloader.current.retention.activity_days),
        ConnectorsResource(store, accounts, sign_ins, clock=clock),
        CostsResource(store=store, clock=clock),
        DebugResource(context.debug, audit_log),
        WhyResource(store, roster=roster, explainer=Explainer(work.previews), peers=others, clock=clock),
        EventsResource(store=store, ring=ring, clock=clock, boot_id=context.boot_id),
        HandbookResource(),
        HubSeriesResource(store, measurements),
        IssuesResource(issues, store, clock),
        ledger := ItemsResource(
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
        TasksResource(store, ledger, roster=roster, ids=context.ids),
        DeviceCallsResource(
            store, roster=roster, clock=clock, ids=context.ids, tables=lambda: work.extractor.tables
        ),
        ItemProposalsResource(store, clock=clock, ids=context.ids, tables=lambda: work.extractor.tables),
        KeysResource(store, accounts, sharing, clock=clock),
        LocksResource(store, work.locks, clock=clock),
        LogsResource(ring, store, context.log.file),
        MeasurementsResource(store, measurements),
        targets := NotifyResource(store, notifier, clock=clock, ids=context.ids),
        DeliveriesResource(store, targets),
        NodesResource(store, upkeep, here=context.node.id, clock=clock),
        OverviewsResource(hub),
        PlansResource(store=store, scheduler=scheduler, clock=clock),
        SlotsResource(store=store, scheduler=scheduler),
        SummariesResource(hub, store, clock),
        SystemResource(
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
        DeviceTablesResource(store, lambda: work.extractor.tables),
        TemplatesResource(store=store, writer=writer, lines=lines),
        TracesResource(store),
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


def find_pages(where: ListenerAddresses | None, settings: Settings) -> PagesAt | None:
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


def address_of_pages(at: PagesAt | None) -> str | None:
    """Return the address of the pages, or None if it is not known, or their host is not."""
    if at is None or not at.host:
        return None
    return f"{'https' if at.is_encrypted else 'http'}://{HostPort(at.host, at.port)}"
