"""Interface between the hub and an optional part, such as coordination.

Coordination, with boards, messages, questions and gateways, is such a part: the hub's other services know it
only by this contract.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from hub.api.resource import Resource
from hub.api.resources.agents import AgentView
from hub.app.boot import HubContext, StartResult
from hub.base.supervisor import Supervisor
from hub.health.issues import Check
from hub.links.roster import Roster
from hub.settings.reload import Commit
from hub.settings.settings import Settings
from protocol.ids import DeviceId
from storage.agents.agents import AgentRow
from storage.agents.declared_agents import AgentLimits


class PluggedPart(Protocol):
    """Services of a part, with its resources, its checks and its share of the settings."""

    def make_nouns(
        self, view_of: Callable[[AgentRow], Awaitable[AgentView]], limits: Callable[[], AgentLimits]
    ) -> tuple[Resource, ...]:
        """Create the nouns of the operators' interface.

        Args:
            view_of: makes the response of an agent.
            limits: returns how many agents there may be.
        """

    def is_gateway_ready(self, gateway: str) -> bool:
        """Return True if the gateway of this name is connected."""

    def make_checks(self, reply_url: Callable[[], str | None]) -> Mapping[str, Check]:
        """Create the checks for issues. *reply_url*: returns the hub's address for agents over HTTP."""

    def add_to(self, supervisor: Supervisor) -> None:
        """Add the services to *supervisor*."""

    def device_ready(self, device_id: DeviceId) -> None:
        """Resume the work that waits for this device."""

    def prepare(self, settings: Settings) -> Commit:
        """Prepare the part for *settings*. Raises Unfit."""

    def renewed(self, settings: Settings) -> Sequence[str]:
        """Return the keys whose values are the same, but lead to another secret."""

    def apply(self, settings: Settings) -> None:
        """Apply *settings* to the services."""


def plug_in_coordination(context: HubContext, start: StartResult, *, roster: Roster) -> PluggedPart:
    """Create the part that lets agents work together, over gateways and devices."""
    # Imported where it is plugged in, so that all else of the process can be read without it.
    from hub.app.coordination import Coordination

    return Coordination(context, start, roster=roster)
