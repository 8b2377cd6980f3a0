"""What models cost, as an operator asks for it."""

from datetime import datetime
from typing import Protocol

from hub.api.views.costs import CostsBy, CostsView, EstimateView, SpendView


class CostFacade(Protocol):
    """What was spent on models, and what would be."""

    async def spent(self, by: CostsBy, *, since: datetime | None, until: datetime | None) -> CostsView:
        """What was spent, failed tries included.

        Args:
            since: 30 days before *until* by default.
            until: now by default; not included.
        """
        ...

    async def of_agent(self, agent: str) -> SpendView:
        """What one agent spent lately. Raises UnknownAgent."""
        ...

    async def estimate(self, agent: str) -> EstimateView:
        """What a run of the agent would read and cost; its device is asked for a list of its files.

        Raises:
            UnknownAgent: there is none of that name.
            DeviceOffline: its device is not connected.
            CallUnsupported: its device cannot list its files without sending them.
        """
        ...
