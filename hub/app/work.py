"""Construction of the services that execute work: runs, schedules, leases, backups, housekeeping."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from hub.accounts.connector_accounts import Accounts
from hub.agents.capabilities import CapabilityRegistry
from hub.agents.checkpoints import CheckpointService
from hub.agents.locks import LockService
from hub.agents.measurements import MeasurementService
from hub.app.boot import HubContext, StartResult
from hub.app.model_chain import ModelsInUse
from hub.app.node_bus import NodeHints
from hub.base.loop_lag import LoopLag
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.limits import BudgetSettings, Limits
from hub.base.toml.values import SecretMissing
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.health.backups import Backups
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from hub.notify.notifier import Notifier
from hub.notify.sending import BadSecret, signatures
from hub.runs.agreement import Agreements
from hub.runs.asking import Asking
from hub.runs.budget import Budgets
from hub.runs.control import RunControl
from hub.runs.delivery import ExcerptSeals, ItemDelivery
from hub.runs.dispatcher import Dispatcher
from hub.runs.estimates import Estimator
from hub.runs.file_watch import FileWatch
from hub.runs.housekeeping import Housekeeping
from hub.runs.leases import LeaseKeeper, NodeLease
from hub.runs.lifecycle import POLL_S, QUIET_POLL_S, RunTransitions, RunWatch
from hub.runs.mailbox_visit import MailboxVisits
from hub.runs.mailbox_watch import MailboxWatch
from hub.runs.news_runs import NewsRuns
from hub.runs.previewing import Previews
from hub.runs.receipts import ReceiptSender
from hub.runs.rows_read_back import OwnRows
from hub.runs.runner import Runner
from hub.runs.scheduler import Scheduler
from hub.runs.sources import DeviceSource
from hub.runs.span_export import SpanExport
from hub.runs.verdict_delivery import VerdictDelivery
from hub.runs.wake_delivery import WakeDelivery
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings, TrustSettings
from hub.text.files import ConvertLimits
from hub.text.rows.own_rows import without_own_rows
from protocol.frame import CREDIT_PIECES
from protocol.ids import AgentId, DeviceId
from protocol.work import RunLimits
from storage.kernel.database import file_of
from storage.store import open_store


class Work:
    """Services that start and execute runs, and their limits."""

    def __init__(
        self,
        context: HubContext,
        boot: StartResult,
        *,
        extractor: Extractor,
        models: ModelsInUse,
        roster: Roster,
        accounts: Accounts,
        hints: NodeHints,
        agent_ran: Callable[[AgentId], None],
        why_stopped: Callable[[], str | None],
    ) -> None:
        """Create the services.

        Args:
            hints: sends hints of runs to the other nodes.
            agent_ran: called with the agent of each run that has ended.
            why_stopped: returns why the hub starts no run now; None: it does.
        """
        opened = models.opened.models
        self._find_link = roster.find
        self._hold = boot.hold
        limits = context.settings.limits
        store, metrics, boot_id = context.store, context.metrics, context.boot_id
        clock, ids, chance = context.clock, context.ids, context.chance
        self.watch = RunWatch(poll_s=POLL_S if store.is_shared else QUIET_POLL_S, on_moved=hints.run_changed)
        self.spans = _make_span_export(context)
        self.lifecycle = lifecycle = RunTransitions(
            store,
            clock=clock,
            ids=ids,
            metrics=metrics,
            watch=self.watch,
            on_ended=(lambda run_id: None) if self.spans is None else self.spans.run_ended,
            agent_ran=agent_ran,
        )
        self._source = DeviceSource(
            limits=_run_limits(limits),
            credit=CREDIT_PIECES,
            metrics=metrics,
            clock=clock,
            receipts=ReceiptSender(store, boot.key, clock=clock, ids=ids),
        )
        self.seals = ExcerptSeals(accounts.keys)
        self._delivery = ItemDelivery(store, clock=clock, metrics=metrics, limits=limits, seals=self.seals)
        self.budgets = Budgets(
            store, boot_id=boot_id, clock=clock, metrics=metrics, limits=context.settings.budget
        )
        self.agreements = Agreements(
            store,
            clock=clock,
            ids=ids,
            on_agreed=self._agreed,
            on_lost=lambda device_id, epoch: self.dispatcher.device_lost(device_id, epoch),
            tables=lambda: extractor.tables,
        )
        self._mailboxes = MailboxVisits(
            store,
            accounts,
            clock=clock,
            chance=chance,
            ids=ids,
            trusted=context.settings.trust.senders,
        )
        asking = Asking(
            store,
            models=opened,
            budgets=self.budgets,
            clock=clock,
            ids=ids,
            metrics=metrics,
            on_back=self.recheck,
            on_released=models.released,
        )
        self._asking, self.extractor = asking, extractor
        self.model_gates = asking.gates
        own_rows = OwnRows(store, clock, without_own_rows)
        self._runner = Runner(
            store=store,
            lifecycle=lifecycle,
            source=self._source,
            extractor=extractor,
            asking=asking,
            delivery=self._delivery,
            find_link=self._agreeing,
            watch=self.watch,
            own_rows=own_rows,
            clock=clock,
            chance=chance,
            ids=ids,
            metrics=metrics,
            mailboxes=self._mailboxes,
            device_grace_s=limits.device_grace_s,
        )
        self.dispatcher = Dispatcher(
            store=store,
            lifecycle=lifecycle,
            runner=self._runner,
            clock=clock,
            chance=chance,
            metrics=metrics,
            boot_id=boot_id,
            limits=limits,
            hold_until_ms=boot.hold_until_ms,
            why_stopped=why_stopped,
            is_model_back=self.model_gates.let_through,
            clock_watch=context.clock_watch,
        )
        self.control = RunControl(
            store=store,
            lifecycle=lifecycle,
            dispatcher=self.dispatcher,
            extractor=extractor,
            clock=clock,
            ids=ids,
            boot_id=boot_id,
            metrics=metrics,
            run_timeout_s=limits.run_wall_s,
            on_recovered=models.try_now,
            wake_others=hints.runs_waiting,
            on_requested=self.model_gates.try_now,
        )
        self.capabilities = CapabilityRegistry(
            store, clock=clock, metrics=metrics, on_changed=self.dispatcher.recheck
        )
        self.locks = LockService(
            store,
            clock=clock,
            ids=ids,
            metrics=metrics,
            on_run_granted=self.dispatcher.recheck,
            is_connected=lambda link: roster.find(link.device_id) is link,
        )
        self.checkpoints = CheckpointService(store, clock=clock, metrics=metrics)
        self.estimator = Estimator(
            store,
            extractor=extractor,
            models=opened,
            budgets=self.budgets,
            clock=clock,
            ids=ids,
            limits=_run_limits(limits),
        )
        self.previews = Previews(
            store,
            source=self._source,
            extractor=extractor,
            asking=asking,
            locks=self.locks,
            mailboxes=self._mailboxes,
            own_rows=own_rows,
            clock=clock,
            ids=ids,
            limits=limits,
            model_named=models.named,
        )
        self.verdicts = VerdictDelivery(
            store,
            find_link=self._agreeing,
            clock=clock,
            seals=self.seals,
            tables=lambda: extractor.tables,
        )
        self.wakes = WakeDelivery(store=store, find_link=roster.find, clock=clock, ids=ids, metrics=metrics)
        news = NewsRuns(store, extractor, clock=clock, ids=ids, on_queued=self._queued)
        self.watching = MailboxWatch(store, accounts, news, clock=clock, chance=chance, boot_id=boot_id)
        self.file_watch = FileWatch(store, extractor, news, clock=clock)
        self.scheduler = Scheduler(
            store=store,
            extractor=extractor,
            clock=clock,
            ids=ids,
            metrics=metrics,
            boot_id=boot_id,
            on_queued=self._queued,
            on_cancel=self.dispatcher.supersede,
            on_wakes=self.wakes.recheck,
            clock_watch=context.clock_watch,
        )
        models.serve_to(self._use, is_used=lambda old: old in asking.in_use)
        self.apply(limits)

    def _agreeing(self, device_id: DeviceId) -> DeviceLink | None:
        """Return the link of a device that may receive runs, or None."""
        link = self._find_link(device_id)
        return link if link is not None and self.agreements.agrees(link) else None

    def _agreed(self, link: DeviceLink) -> None:
        self.dispatcher.device_ready(link)
        self.verdicts.recheck()

    def _queued(self) -> None:
        self.dispatcher.recheck()
        self.control.wake_others()

    def recheck(self) -> None:
        """Notify the services that agents or schedules have changed."""
        self.scheduler.recheck()
        self.dispatcher.recheck()

    def schedule_is_due(self) -> None:
        """Notify the scheduler, here or at another hub, that a schedule waited for a connection."""
        self.scheduler.recheck()
        self.control.wake_others()

    def clock_stepped(self, by_ms: int) -> None:
        """Adjust what this process knows of times, and let its services look again."""
        self.dispatcher.hold_until_ms += by_ms
        if self._hold is not None:
            self._hold.until += timedelta(milliseconds=by_ms)
        self.recheck()
        self.wakes.recheck()
        self.verdicts.recheck()

    def _use(self, models: Models) -> None:
        """Use the models that replace others from the next run on."""
        self.extractor.models = self.estimator.models = models
        self._asking.use(models)

    def apply_budget(self, budget: BudgetSettings) -> None:
        """Apply a new budget from the next question on."""
        self.budgets.limits = budget
        self.budgets.forgive()

    def apply_trust(self, trust: TrustSettings) -> None:
        """Apply new names of known senders, from the next run on."""
        self._mailboxes.trusted = trust.senders

    def apply(self, limits: Limits) -> None:
        """Apply new limits; runs in progress continue."""
        self._source.limits = self.estimator.limits = _run_limits(limits)
        self._source.converting = ConvertLimits(
            memory_bytes=limits.convert_memory_bytes, seconds=limits.convert_seconds
        )
        self._delivery.limits = self.previews.limits = limits
        self._runner.device_grace_s = limits.device_grace_s
        self.dispatcher.apply(limits)
        self.control.run_timeout_s = limits.run_wall_s


def _run_limits(limits: Limits) -> RunLimits:
    return RunLimits(files=limits.run_files, bytes=limits.run_bytes)


def make_notifier(context: HubContext, *, pages: Callable[[], str | None]) -> Notifier:
    """Create the service that notifies the targets of [[notify]]. *pages*: returns where the pages are."""
    return Notifier(
        context.store,
        hub=context.settings.hub.name,
        rules=OutboundRules.parse(context.settings.outbound.allow),
        boot_id=context.boot_id,
        clock=context.clock,
        chance=context.chance,
        metrics=context.metrics,
        pages=pages,
    )


def prepare_targets(notifier: Notifier, settings: Settings) -> Commit:
    """Try the secrets of all targets. Raises Unfit: one does not exist, or signs nothing."""
    for number, target in enumerate(settings.notify):
        try:
            secret = None if target.secret is None else target.secret.resolve()
            if secret is not None and target.kind == "webhook":
                signatures(secret, "", 0, b"")
        except (SecretMissing, BadSecret) as error:
            raise Unfit(("notify", number, "secret"), f"target {target.name}: {error}") from error
    return partial(notifier.apply, settings.notify)


def make_lease_keeper(context: HubContext, lease: NodeLease) -> LeaseKeeper:
    """Create the service that renews this node's *lease* in a shared database."""
    url, boot_id = context.settings.storage.resolved(), context.boot_id
    return LeaseKeeper(
        lambda: open_store(url, boot_id=boot_id),
        node_id=context.node.id,
        boot_id=boot_id,
        clock=context.clock,
        lease=lease,
        on_lost=context.drain.begin,
    )


def make_backups(context: HubContext) -> Backups:
    """Create the backup service; it is idle if the database is not a file."""
    url = context.settings.storage.resolved()
    database = None if context.store.is_shared else file_of(url, context.state)
    keep = context.settings.backup
    return Backups(context.store, context.state, database, clock=context.clock, keep=keep)


def make_housekeeping(context: HubContext) -> Housekeeping:
    """Create the service that removes expired data."""
    settings = context.settings
    return Housekeeping(
        context.store,
        clock=context.clock,
        boot_id=context.boot_id,
        keep=settings.retention,
        audit=settings.audit,
        most_bytes=settings.limits.database_bytes,
        on_full=context.metrics.limits_reached.labels("database_bytes").inc,
    )


def _make_span_export(context: HubContext) -> SpanExport | None:
    url, settings = context.settings.traces.otlp, context.settings
    if url is None:
        return None
    return SpanExport(
        context.store,
        url=url,
        resource={"service.name": settings.hub.name, "service.instance.id": context.node.id},
        rules=OutboundRules.parse(settings.outbound.allow),
        clock=context.clock,
        chance=context.chance,
        metrics=context.metrics,
    )


def make_measurements(context: HubContext, roster: Roster, lag: LoopLag) -> MeasurementService:
    """Create the service for measurements of agents and of this node."""
    return MeasurementService(
        context.store,
        clock=context.clock,
        metrics=context.metrics,
        keep=context.settings.retention,
        node_id=context.node.id,
        devices=lambda: len(roster),
        lag_s=lag.take_longest_s,
    )
