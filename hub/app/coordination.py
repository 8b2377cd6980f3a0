"""Construction of the services for gateways, boards and messages, in their start order.

Its services are created here. They are added to the supervisor bottom up, above the roster of devices, so
that a sender stops before the connections that it uses.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from hub.api.resource import Resource
from hub.api.resources.agents import AgentView
from hub.api.resources.boards import BoardMemoriesResource, BoardsResource
from hub.api.resources.gateways import GatewaysResource
from hub.api.resources.messages import BroadcastsResource as BroadcastNoun
from hub.api.resources.messages import LeadsResource as LeadNoun
from hub.api.resources.messages import MessagesResource as MessageNoun
from hub.api.resources.questions import QuestionsResource as QuestionNoun
from hub.api.resources.souls import SoulsResource as SoulNoun
from hub.app.boot import HubContext, StartResult
from hub.app.gateway_checks import check_gateway_agents, check_gateways
from hub.base.outbound.rules import OutboundRules
from hub.base.supervisor import Supervisor
from hub.base.toml.values import SecretMissing
from hub.base.version import VERSION
from hub.coordination.broadcasts import BroadcastService
from hub.coordination.gateway_watch import GatewayMonitor
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.messages import LeadMessages, LeadService, MessageService
from hub.coordination.provisioning import ConfigDebounce, Provisioning
from hub.coordination.questions import BoardMemory, QuestionDelivery, QuestionService
from hub.coordination.souls import SoulHomes, SoulService, SoulWriter
from hub.health.issues import Check
from hub.links.roster import Roster
from hub.openclaw import BadGatewayUrl, Fleet, GatewayAddress, GatewayConfig
from hub.runs.leadership import Leadership
from hub.settings.gateway_settings import GatewaySettings
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings
from protocol.ids import DeviceId
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import AgentLimits
from storage.coordination.message_rows import MessageRow

STATUS_LEASE: Final = "gateway status"


class Coordination:
    """Services of coordination: the part of the hub that ``hub.app.parts`` describes.

    Attributes:
        fleet: a client of every gateway, by its name.
        monitor: keeps the status of the agents at gateways.
        authority: decides who may do what on a board.
        memory: reads and writes the memories of boards.
        soul_writer: completes writes of souls.
        courier: delivers messages to agents.
        provisioning: creates agents at their gateways.
        leads: ensures that boards have a lead.
        broadcasts: sends a message to the leads of many boards.
        sent: takes messages for delivery.
        asked: asks people, and takes their answers.
    """

    def __init__(self, context: HubContext, start: StartResult, *, roster: Roster) -> None:
        self._ground = context
        self._start = start
        self._roster = roster
        store, clock = context.store, context.clock
        rules = OutboundRules.parse(context.settings.outbound.allow)
        self.fleet = Fleet(
            folder=context.state,
            rules=lambda: rules,
            clock=clock,
            chance=context.chance,
            metrics=context.metrics,
            version=VERSION,
        )
        given: dict[str, Any] = {"clock": clock, "ids": context.ids, "metrics": context.metrics}
        quiet = ConfigDebounce(clock)
        self.provisioning = Provisioning(
            store,
            fleet=self.fleet,
            boot_id=context.boot_id,
            quiet=quiet,
            on_made=lambda gateway: self.monitor.recheck(gateway),
            **given,
        )
        self.leads = LeadService(store, self.provisioning, **given)
        self.monitor = GatewayMonitor(
            store,
            self.fleet,
            lease=Leadership(store, STATUS_LEASE, context.boot_id, clock=clock),
            clock=clock,
            on_missing=self.provisioning.schedule,
        )
        self._boards = BoardsResource(store, owner_id=start.user_id, **given)
        homes = SoulHomes(self.fleet.find, roster.find, context.ids)
        self.soul_writer = SoulWriter(store=store, homes=homes, **given)
        self._souls = SoulService(store=store, homes=homes, writer=self.soul_writer, **given)
        self.fleet.listen(self.soul_writer.on_news)
        self.asked = QuestionService(store, **given)
        self._questions = QuestionDelivery(
            store, asked=self.asked, links=roster.connected, find_link=roster.find, clock=clock
        )
        self.courier = MessageDeliveryService(
            store,
            fleet=self.fleet,
            links=roster,
            chance=context.chance,
            boot_id=context.boot_id,
            on_text=self.asked.accept_text,
            held_s=quiet.held_s,
            ensure_lead=self.leads.ensure,
            **given,
        )
        self.sent = MessageService(store, self.courier, **given)
        self.memory = BoardMemory(
            store, on_message=self.courier.moving.report, on_question=self.asked.report, **given
        )
        self.asked.listen(lambda _: self.courier.kick())  # asking and answering send messages
        self.fleet.listen(quiet.on_news)
        self._lead_messages = LeadMessages(store, self.sent, self.leads, clock=clock, ids=context.ids)
        self.broadcasts = BroadcastService(store, self.sent, self.courier, owner_id=start.user_id, **given)
        self._gateways = GatewaySettingsInUse(self.fleet, self.monitor.recheck)
        self.prepare(context.settings)()
        self.apply(context.settings)

    def make_nouns(
        self, view_of: Callable[[AgentRow], Awaitable[AgentView]], limits: Callable[[], AgentLimits]
    ) -> tuple[Resource, ...]:
        """Create the nouns of the operators' interface.

        Args:
            view_of: makes the response of an agent.
            limits: returns how many agents there may be.
        """
        context, store = self._ground, self._ground.store
        messages = MessageNoun(store, self.sent, why_away=self._why_not_sent)
        gateways = GatewaysResource(
            store,
            self.fleet,
            self.monitor,
            self.provisioning.retry,
            view_of=view_of,
            limits=limits,
            clock=context.clock,
            ids=context.ids,
            metrics=context.metrics,
        )
        return (
            BoardMemoriesResource(self.memory),
            self._boards,
            BroadcastNoun(store, self.broadcasts, why_away=self._why_away),
            LeadNoun(self.leads, self._lead_messages, messages),
            messages,
            QuestionNoun(store, self.asked),
            SoulNoun(self._souls),
            gateways,
        )

    def is_gateway_ready(self, gateway: str) -> bool:
        """Return True if the gateway of this name is connected."""
        client = self.fleet.find(gateway)
        return client is not None and client.health().state == "ready"

    def make_checks(self, reply_url: Callable[[], str | None]) -> dict[str, Check]:
        """Create the checks for issues. *reply_url*: returns the hub's address for agents over HTTP."""
        store = self._ground.store
        return {
            "gateways": partial(check_gateways, store, self.fleet.health, self.monitor.lost_since),
            "agents of gateways": partial(check_gateway_agents, store, reply_url),
        }

    def add_to(self, supervisor: Supervisor) -> None:
        """Add the services to *supervisor*."""
        supervisor.add("gateways", self.fleet, loop=self.fleet.loop)
        supervisor.add("gateway statuses", self.monitor, loop=self.monitor.loop)
        supervisor.add("souls", self.soul_writer, loop=self.soul_writer.loop)
        supervisor.add("agents at gateways", self.provisioning, loop=self.provisioning.loop)
        supervisor.add("messages", self.courier, loop=self.courier.loop)
        supervisor.add("broadcasts", self.broadcasts, loop=self.broadcasts.loop)
        supervisor.add("questions", self._questions, loop=self._questions.loop)

    def device_ready(self, device_id: DeviceId) -> None:
        """Resume the work that waits for this device."""
        self.soul_writer.device_ready()
        self.courier.device_ready(device_id)
        self._questions.device_ready(device_id)

    def prepare(self, settings: Settings) -> Commit:
        """Prepare the gateways of *settings*. Raises Unfit."""
        return self._gateways.prepare(settings)

    def renewed(self, settings: Settings) -> Sequence[str]:
        """Return the keys whose values are the same, but lead to another secret."""
        return self._gateways.renewed(settings)

    def _why_away(self, gateway: str) -> str | None:
        """Return why a gateway cannot be reached just now; ``None``: it can."""
        client = self.fleet.find(gateway)
        if client is None:
            return f"gateway {gateway} is not in hub.toml any more"
        health = client.health()
        if health.state == "ready":
            return None
        reason = "it is not connected" if health.problem is None else health.problem.message
        return f"gateway {gateway} cannot be spoken to: {reason}"

    def _why_not_sent(self, message: MessageRow) -> str | None:
        """Return why a waiting message cannot be sent; ``None``: it is sent when it is its turn."""
        if message.gateway is not None:
            return self._why_away(message.gateway)
        if message.device_id is not None and self._roster.find(message.device_id) is None:
            return "its device is not connected"
        return None

    def apply(self, settings: Settings) -> None:
        """Apply *settings* to the services."""
        self.courier.to_gateway.reply_url = settings.coordination.reply_url
        self.sent.expires_s = settings.coordination.message_expires_s
        self.asked.expires_s = settings.coordination.question_expires_s
        self.asked.answer_expires_s = settings.coordination.message_expires_s
        self.memory.answer_expires_s = settings.coordination.message_expires_s


class GatewaySettingsInUse:
    """Transfer of the gateways in the settings to the fleet, at the start and at each reload.

    Args:
        applied: called after the fleet has changed.
    """

    def __init__(self, fleet: Fleet, applied: Callable[[], None] = lambda: None) -> None:
        self._fleet = fleet
        self._applied = applied
        self._in_use: dict[str, GatewayConfig] = {}

    def prepare(self, settings: Settings) -> Commit:
        """Resolve every token, even if unchanged.

        Raises:
            Unfit: a token does not exist, or a URL is invalid; nothing was changed.
        """
        configs = []
        for number, gateway in enumerate(settings.gateways):
            try:
                config = config_of(gateway)
                GatewayAddress.parse(config.url)
                configs.append(config)
            except SecretMissing as error:
                raise Unfit(("gateways", number, "token"), str(error)) from error
            except BadGatewayUrl as error:
                raise Unfit(("gateways", number, "url"), str(error)) from error
        return partial(self._use, configs)

    def renewed(self, settings: Settings) -> list[str]:
        """Return ``gateways`` if an unchanged reference resolves to another token than the one in use."""
        found = (config_of(gateway) for gateway in settings.gateways if gateway.name in self._in_use)
        is_new = any(gateway.token != self._in_use[gateway.name].token for gateway in found)
        return ["gateways"] if is_new else []

    def _use(self, configs: list[GatewayConfig]) -> None:
        self._fleet.apply(configs)
        self._in_use = {config.name: config for config in configs}
        self._applied()


def config_of(gateway: GatewaySettings) -> GatewayConfig:
    """Return the configuration of a gateway's client.

    Raises:
        SecretMissing: its token does not exist.
    """
    return GatewayConfig(
        name=gateway.name,
        url=gateway.url,
        token=None if gateway.token is None else gateway.token.resolve(),
        has_device=gateway.device_identity,
        ca_file=gateway.ca_file,
    )
