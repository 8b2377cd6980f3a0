"""Construction of all services of the hub, and their order of start and stop.

Services start bottom-up and stop in reverse: first no new run starts and runs in progress are paused, then
devices receive a goodbye, and the database closes last.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from hub.accounts.key_sharing import KeySharing
from hub.accounts.sign_in import SignIns
from hub.agents.heartbeats import Heartbeats
from hub.agents.writing import AgentWriter
from hub.api.application import reply_to
from hub.api.device import Requests
from hub.api.resources.system import ListenerAddresses
from hub.api.resources.tokens import PagesAt
from hub.app import boot
from hub.app.boot import HubContext
from hub.app.connector_accounts import make_accounts, prepare_connectors
from hub.app.device_news import DeviceNews
from hub.app.gauges import Gauges
from hub.app.identity import make_identity
from hub.app.issue_checks import make_issues, watch_for_issues
from hub.app.listeners import (
    HooksInUse,
    Judges,
    apply_to_devices,
    apply_to_operators,
    make_device_listener,
    make_operator_server,
    open_device_port,
)
from hub.app.model_chain import ModelShares, ModelsInUse, asks_small_model
from hub.app.node_bus import NodeHints, follow_hint, make_bus
from hub.app.parts import PluggedPart, plug_in_coordination
from hub.app.resources import address_of_pages, find_pages, make_resources
from hub.app.router import Router
from hub.app.settings_application import at_once, last_generation, make_parts
from hub.app.systemd import Watchdog
from hub.app.tls import Tls
from hub.app.work import (
    Work,
    make_backups,
    make_housekeeping,
    make_lease_keeper,
    make_measurements,
    make_notifier,
    prepare_targets,
)
from hub.base.log import Channel
from hub.base.loop_lag import LoopLag
from hub.base.name_lists import counted
from hub.base.supervisor import Supervisor
from hub.cluster.messages import BusReply, BusRequest, Hint
from hub.extraction.extractor import Extractor
from hub.extraction.rules_process import RulesProcesses
from hub.health import machine_and_load
from hub.health.access_checks import Arrived
from hub.health.database_watch import DatabaseWatch
from hub.health.issues import Finding
from hub.links.key_rotation import KeyRotation
from hub.links.listener import RESTARTING, STOPPING
from hub.links.revocation_watch import RevocationWatch
from hub.links.roster import DeviceLost, DeviceReady, LinkEvent, Roster, SharedRoots, Takeovers
from hub.runs.disk import Ballast, DiskGuard
from hub.runs.dispatcher import Dispatcher
from hub.runs.housekeeping import Erasures
from hub.runs.leases import NodeLease
from hub.settings.reading import FileLines
from hub.settings.reload import Commit
from hub.settings.settings import Settings
from hub.settings.table_settings import tables_of
from storage.devices import nodes

log = Channel(__name__)


# A failure of these services ends the process, and the next start recovers; others are restarted.
VITAL: Final[Mapping[str, str]] = {
    "devices": "it has the port and the connections: no device can connect without it",
    "operators": "without its sockets the hub cannot be observed, commanded or stopped",
    "hooks": "without its port nothing is accepted that others post",
    "dispatcher": "runs execute in its tasks; only a start of the hub recovers those that are lost",
    "router": "it hands on what links report: an event that is lost leaves connections and rows at odds",
    "leases": "a hub that does not renew its lease may not go on with its runs",
    "model": "the settings ask for it, so a start without it is refused; it restarts its server by itself",
}


class Hub:
    """Objects of one hub, and their life cycle.

    Attributes, once it is open:
        bus: connection to the other nodes, if hub.toml names a bus.
        coordination: services of gateways and boards.
        judges: who decides which devices and operators may connect.
        issues: findings of the checks, and the checks.
        notifier: service of the targets of events.
        nouns: nouns of the operators' interface.
        roster: links of the connected devices.
        rules: processes that read documents by rules.
        work: services that start and execute runs.
    """

    def __init__(self, context: HubContext) -> None:
        self._ground = context
        self._arrived = Arrived(context.clock)
        self.supervisor = Supervisor(
            clock=context.clock, chance=context.chance, vital=VITAL, metrics=context.metrics
        )
        self._shared = SharedRoots()
        self._where: ListenerAddresses | None = None  # set once everything listens

    async def open(self, resources: AsyncExitStack) -> None:
        """Recover an earlier boot, then create the services, bottom-up.

        Args:
            resources: closed after all services have ended.
        """
        context, add = self._ground, self.supervisor.add
        start = await boot.begin(context)
        resources.push_async_callback(boot.end, context)
        models_in_use = ModelsInUse(context, self.supervisor)
        resources.push_async_callback(models_in_use.close)
        self.rules = rules = RulesProcesses(context.clock)
        resources.callback(rules.close)
        extractor = Extractor(
            models_in_use.opened.models,
            rules=rules,
            secret=start.secret,
            tables=tables_of(context.settings.tables),
            asks_small=asks_small_model(context.settings),
        )
        takeovers = Takeovers(context.clock)
        self.bus = bus = make_bus(context, start, on_hint=self._follow_hint, on_request=self._reply)
        hints = NodeHints(bus, context.boot_id, address=context.settings.cluster.address)
        self._lease = lease = NodeLease(
            context.clock,
            on_renewed=lambda steady_s: hints.lease_renewed(steady_s, devices=len(self.roster)),
            on_given_up=lambda others: self._listener.send_away(others),
        )
        self.roster = roster = Roster(
            self._route,
            metrics=context.metrics,
            takeovers=takeovers,
            # Only in a shared database is the lease renewed, and can it end.
            may_send=(lambda: lease.is_valid) if context.store.is_shared else None,
            is_cut_off=lambda: lease.is_given_up,
            hubs=await context.store.read(nodes.addresses),
        )
        reloader = context.watch_settings.reloader
        lines = FileLines(lambda: reloader.reading)
        news = self._news = DeviceNews(context, roster=roster, lines=lines)
        accounts = await make_accounts(context, resources, on_change=news.connector_moved)
        prepare_connectors(accounts, context.settings)()
        sign_ins = SignIns(
            accounts,
            context.store,
            clock=context.clock,
            chance=context.chance,
            ids=context.ids,
            links=roster.connected,  # it uses the browsers of connected devices
        )
        sharing = KeySharing(context.store, accounts.keys, node_id=context.node.id, clock=context.clock)
        ends = RevocationWatch(context.store, roster=roster, boot_id=context.boot_id, clock=context.clock)
        disk = DiskGuard(context.state, clock=context.clock, ballast=Ballast(context.state))
        self.notifier = notifier = make_notifier(context, pages=lambda: address_of_pages(self._pages_at()))
        self.issues = issues = make_issues(context, notifier)
        backups = make_backups(context)
        database = DatabaseWatch(
            context.store,
            boot.make_beat(context),
            clock=context.clock,
            backups=backups,
            on_change=issues.forget,
        )

        def stops() -> list[Finding]:
            return list(filter(None, (database.finding, machine_and_load.full_disk(disk.problem))))

        lag = LoopLag(clock=context.clock, metrics=context.metrics)
        self.work = work = Work(
            context,
            start,
            extractor=extractor,
            models=models_in_use,
            roster=roster,
            accounts=accounts,
            hints=hints,
            agent_ran=issues.forget,
            why_stopped=lambda: next((found.explanation for found in stops()), None),
        )
        self.judges = judges = Judges(
            context, roster=roster, on_taken=hints.device_taken, on_due=work.schedule_is_due
        )
        dispatcher, scheduler = work.dispatcher, work.scheduler
        dispatcher.rest_between_writes(context.store)
        work.locks.rest_between_writes(context.store)
        self.coordination: PluggedPart = plug_in_coordination(context, start, roster=roster)
        coordination = self.coordination
        rotation = KeyRotation(
            context.store,
            hub_id=start.hub_id,
            clock=context.clock,
            metrics=context.metrics,
        )
        measurements = make_measurements(context, roster, lag)

        def agents_changed() -> None:
            work.recheck()
            news.delivery.recheck()

        writer = AgentWriter(
            context.store,
            clock=context.clock,
            ids=context.ids,
            metrics=context.metrics,
            on_change=agents_changed,
        )
        writer.apply(context.settings.limits)
        self.heartbeats = heartbeats = Heartbeats(context.store, clock=context.clock, metrics=context.metrics)
        context.moves.listen(heartbeats.agent_moved)
        context.moves.listen(dispatcher.agent_moved)
        prepare_targets(notifier, context.settings)()
        erasures = Erasures(context.store, context.state, cancel=work.control.cancel, clock=context.clock)
        identity = make_identity(
            context, start, roster=roster, pages_at=self._pages_at, on_erased=erasures.loop.wake
        )
        self.resources = make_resources(
            context,
            start,
            work=work,
            models_in_use=models_in_use,
            roster=roster,
            identity=identity,
            coordination=coordination,
            news=news,
            rotation=rotation,
            writer=writer,
            lines=lines,
            heartbeats=heartbeats,
            measurements=measurements,
            accounts=accounts,
            sign_ins=sign_ins,
            sharing=sharing,
            issues=issues,
            backups=backups,
            notifier=notifier,
            probe=database.probe,
            lag=lag,
            where=lambda: self._where,
            ask=None if bus is None else bus.ask,
        )
        requests = Requests(self.resources, context.store, clock=context.clock, metrics=context.metrics)
        requests.apply(context.settings.limits)
        self._router = Router(
            dispatcher=dispatcher, requests=requests, heartbeats=heartbeats, clock=context.clock
        )
        self._fill_debug(roster, dispatcher, requests, lag)
        add("loop lag", lag, loop=lag.loop)
        add("watchdog", self._watchdog(roster, dispatcher))  # keeps notifying while the others stop
        add("disk", disk, loop=disk.loop)
        if (watch := context.clock_watch) is not None:
            add("clock", watch, loop=watch.loop)
            watch.on_step = work.clock_stepped
        add("database", database, loop=database.loop)
        gauges = Gauges(
            store=context.store, clock=context.clock, metrics=context.metrics, log=context.log, disk=disk
        )
        add("gauges", gauges, loop=gauges.loop)
        add("rules", rules, loop=rules.loop)
        add("router", self._router, loop=self._router.loop)
        add("requests", requests, loop=requests.loop)
        add("locks", work.locks, loop=work.locks.loop)
        news.add_to(self.supervisor)
        add("heartbeats", heartbeats, loop=heartbeats.loop)
        tls = Tls(context.settings.listen, context.metrics)
        context.watch_settings.renew_certificates = tls.renew
        self._operators = operators = make_operator_server(
            context, judges, self.resources, tls=tls.context("operator")
        )
        add("operators", operators, loop=operators.loop)  # operators can watch the others stop
        hooks = None
        if (webhooks := context.settings.listen.webhooks) is not None:
            hooks = HooksInUse(context, webhooks, tls=tls.context("webhooks"), on_news=work.watching.news)
            hooks.prepare(context.settings)()
        # Bound now, so that an unusable address is reported before any service starts.
        sock = resources.enter_context(open_device_port(context))
        self._listener = devices = make_device_listener(
            context,
            judges,
            hub_id=start.hub_id,
            key=start.key,
            roster=roster,
            sock=sock,
            tls=tls.context("devices"),
            find_others=partial(context.store.read, nodes.others_with_room, context.boot_id),
        )
        add("devices", devices, loop=devices.loop)
        add("revocations", ends, loop=ends.loop)
        add("sign-ins", sign_ins, loop=sign_ins.loop)
        coordination.add_to(self.supervisor)  # after the devices, over which it sends
        add("agreements", work.agreements, loop=work.agreements.loop)
        # After the devices, so that it stops first: runs are paused while the devices are still connected.
        add("dispatcher", dispatcher, loop=dispatcher.loop)
        if bus is not None:
            add("bus", bus, loop=bus.loop)
        if context.store.is_shared:
            leases = make_lease_keeper(context, lease)
            add("leases", leases, loop=leases.loop)
            add("keys", sharing, loop=sharing.loop)
        add("models", models_in_use, loop=models_in_use.loop)
        shares = ModelShares(context.store, models_in_use, boot_id=context.boot_id, clock=context.clock)
        add("shares of models", shares, loop=shares.loop)
        add("model gates", work.model_gates, loop=work.model_gates.loop)
        add("wakes", work.wakes, loop=work.wakes.loop)
        add("verdicts", work.verdicts, loop=work.verdicts.loop)
        if work.spans is not None:
            add("spans", work.spans, loop=work.spans.loop)
        add("notify", notifier, loop=notifier.loop)
        add("watching", work.watching, loop=work.watching.loop)
        add("changed files", work.file_watch, loop=work.file_watch.loop)
        if hooks is not None:
            add("hooks", hooks.server, loop=hooks.server.loop)
        add("scheduler", scheduler, loop=scheduler.loop)
        watch_for_issues(
            issues,
            context,
            start,
            failures=lambda: self.supervisor.failures,
            stops=stops,
            takeovers=takeovers,
            shut_out=judges.shut_out,
            refused=judges.of_devices.refused.current,
            connected=roster.connected,
            arrived=self._arrived,
            shared=self._shared,
            tls=tls,
            models_in_use=models_in_use,
            reached_budgets=work.budgets.reached,
            offered=lambda: dispatcher.offered,
            away=work.model_gates.away,
            coordination=coordination,
            accounts=accounts,
            spans=work.spans,
            notifier=notifier,
            bus=bus,
            database=database,
        )
        add("issues", issues, loop=issues.loop)
        housekeeping = make_housekeeping(context)
        add("housekeeping", housekeeping, loop=housekeeping.loop)
        add("backups", backups, loop=backups.loop)
        add("erasures", erasures, loop=erasures.loop)
        add("measurements", measurements, loop=measurements.loop)

        def apply(settings: Settings) -> None:
            extractor.tables = tables_of(settings.tables)
            work.apply(settings.limits)
            work.apply_budget(settings.budget)
            work.apply_trust(settings.trust)
            judges.apply(settings.limits)
            requests.apply(settings.limits)
            writer.apply(settings.limits)
            coordination.apply(settings)
            apply_to_devices(devices, settings, opened=context.settings.listen, state=context.state)
            apply_to_operators(operators, settings, opened=context.settings.listen)
            housekeeping.keep, housekeeping.audit = settings.retention, settings.audit
            housekeeping.most_bytes = settings.limits.database_bytes
            measurements.keep = settings.retention
            backups.keep = settings.backup
            context.log.change(level=settings.log.level, content=settings.log.content)
            context.log.keep(settings.limits.log_bytes)

        prepare: list[Callable[[Settings], Commit]] = [
            tls.prepare,
            coordination.prepare,
            partial(prepare_connectors, accounts),
            models_in_use.prepare,
            at_once(apply),
            partial(prepare_targets, notifier),
        ]
        if hooks is not None:
            prepare.append(hooks.prepare)
        parts = make_parts(
            context,
            start,
            shared=self._shared,
            prepare=prepare,
            renewed=lambda settings: [
                *tls.renewed(settings),
                *coordination.renewed(settings),
                *models_in_use.renewed(settings),
            ],
            agents_changed=agents_changed,
            after=partial(issues.forget, online=True),
        )
        generation = await last_generation(context.store, context.node.id)
        reloader.attach(parts, context.metrics, generation=generation)
        watched = context.watch_settings  # last: it begins once all others have started
        add("settings", watched, loop=watched.loop)

    def _follow_hint(self, hint: Hint) -> None:
        work = self.work
        follow_hint(hint, watch=work.watch, recheck=work.recheck, roster=self.roster, lease=self._lease)

    async def _reply(self, request: BusRequest) -> BusReply:
        return await reply_to(self._operators.served, request)

    def _pages_at(self) -> PagesAt | None:
        return find_pages(self._where, self._ground.watch_settings.reloader.current)

    def where(self) -> dict[str, str]:
        """Return the addresses of all listeners, once all services have started."""
        host, port = self.supervisor.started["devices"]
        listening = self.supervisor.started["operators"]
        self._where = where = ListenerAddresses(
            devices=(host, port),
            operator=listening.tcp,
            socket=listening.unix,
            webhooks=self.supervisor.started.get("hooks"),
        )
        return where.spelled()

    def begin_drain(self) -> None:
        """Start no more work from now on, and choose the goodbye for devices."""
        self.work.dispatcher.close_gates()
        self._ground.drain.on_hurry(self.work.dispatcher.hurry)
        self._listener.farewell = RESTARTING if self._ground.drain.restarts else STOPPING

    def _fill_debug(self, roster: Roster, dispatcher: Dispatcher, requests: Requests, lag: LoopLag) -> None:
        """Provide the data for a debug dump of this process."""
        queues: dict[str, Callable[[], int]] = {
            "log": lambda: self._ground.log.waiting,
            "router": lambda: len(self._router),
            "requests": lambda: len(requests),
            "runs executing": lambda: dispatcher.executing,
        }
        self._ground.debug.attach(queues=queues, links=roster.local, loop_lag_s=lambda: lag.lag_s)

    def _watchdog(self, roster: Roster, dispatcher: Dispatcher) -> Watchdog:
        context = self._ground

        def status() -> str:
            doing = "stopping: " if context.drain.is_begun else ""
            refused = ", hub.toml refused" if context.watch_settings.reloader.refused else ""
            connected, executing = counted(len(roster), "device"), counted(dispatcher.executing, "run")
            return f"{doing}{connected} connected, {executing} executing{refused}"

        async def touch() -> None:
            await context.store.read(nodes.touch)
            await context.store.write(nodes.touch)

        return Watchdog(
            notify=context.manager.notify,
            watchdog_s=context.manager.watchdog_s,
            late=self.supervisor.late,
            touch=None if context.store.is_shared else touch,
            status=status,
            clock=context.clock,
        )

    def _route(self, event: LinkEvent) -> None:
        if isinstance(event, DeviceReady):
            self._arrived.record(event.link.device_id)
            self._shared.record(event.link.device_id, event.hello.roots)
            self.work.agreements.device_ready(event.link)
            self._news.delivery.check(event.link.device_id)
            self.coordination.device_ready(event.link.device_id)
        elif isinstance(event, DeviceLost):
            self.work.agreements.device_lost(event.device_id, event.epoch)
            self.work.locks.device_lost(event.device_id, event.epoch)
        self._router.route(event)
