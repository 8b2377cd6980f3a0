"""Capabilities of agents, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.capabilities import CapabilityView, RegisteredView, WantedCapability


class CapabilityFacade(Protocol):
    """Capabilities. Each method raises UnknownAgent; what a person changes is audited with it."""

    async def of_agent(self, name: str) -> Sequence[CapabilityView]:
        """By name, of each the newest version first."""
        ...

    async def register(
        self, name: str, capability: str, version: str, wanted: WantedCapability, *, actor: str
    ) -> RegisteredView:
        """Write one down, or change what is written. Enabling it disables another version of its name.

        Raises:
            BadCapability, BadVersion, BadDocument, DocumentTooLarge: what is said of it.
            DeclaredCapability: hub.toml declares it, or the version that it would disable.
            TooManyCapabilities: nothing was written, as in each of these cases.
        """
        ...

    async def remove(
        self, name: str, capability: str, version: str | None, *, actor: str
    ) -> Sequence[CapabilityView]:
        """Forget one in this version, or in all.

        Raises:
            UnknownCapability, BadVersion, DeclaredCapability: nothing was removed.
        """
        ...
