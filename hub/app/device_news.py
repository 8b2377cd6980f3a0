"""Messages that devices receive unsolicited: events, and the configuration of their agents."""

from hub.agents.news import News
from hub.agents.writing import AgentConfigs, ConfigDelivery
from hub.app.context import Context
from hub.app.supervisor import Supervisor
from hub.links.device_events import DeviceEvents
from hub.links.roster import Roster
from protocol.coordination import EventName
from storage.connectors.connectors import ConnectorRow


class DeviceNews:
    """Services that send messages to devices.

    Attributes:
        events: sends events to devices.
        configs: changes configurations of agents.
        delivery: sends changed configurations to their devices.
    """

    def __init__(self, context: Context, *, roster: Roster) -> None:
        store, clock, metrics = context.store, context.clock, context.metrics
        self.events = DeviceEvents(roster, clock=clock, metrics=metrics)
        self.configs = AgentConfigs(store, clock=clock, metrics=metrics)
        self.delivery = ConfigDelivery(store, roster=roster, events=self.events, clock=clock)
        self.configs.on_change = self.delivery.changed
        self._news = News(store, ring=context.log.ring, events=self.events, clock=clock)

    def add_to(self, supervisor: Supervisor) -> None:
        """Register the services with the supervisor."""
        supervisor.add("device events", self.events, turns=self.events.turns)
        supervisor.add("config delivery", self.delivery, turns=self.delivery.turns)
        supervisor.add("device news", self._news, turns=self._news.turns)

    def connector_moved(self, row: ConnectorRow) -> None:
        """Notify the devices of a connector's user that its state has changed."""
        data = {"connector": row.name, "state": row.state, "reason": row.reason, "detail": row.detail}
        for device_id in self.events.subscribers(EventName.CONNECTOR_MOVED):
            if self.events.user_of(device_id) == row.user_id:
                self.events.queue(device_id, EventName.CONNECTOR_MOVED, dict(data))
