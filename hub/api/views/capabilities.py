"""Capabilities of agents, as an operator is told of them and registers them."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from hub.api.views.view import View

Description = Annotated[str, Field(max_length=4_096, pattern=r"^[^\x00]*$")]


class CapabilityView(View):
    """Something an agent can do, in one version. Of each name at most one version is enabled.

    *source*: who registered it: hub.toml, an operator, the agent's device.
    """

    name: str
    version: str
    enabled: bool
    source: Literal["file", "api", "device"]
    config: dict[str, Any] = Field(default_factory=dict)
    description: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class WantedCapability(View):
    """What is said of a capability.

    *enabled* by default: as it was; a new one is enabled unless a newer version of its name is.
    """

    enabled: bool | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    description: Description | None = None


class RegisteredView(View):
    """A capability that was registered. *disabled*: the version that it took the place of."""

    capability: CapabilityView
    is_new: bool
    disabled: str | None = None


class RemovedCapabilities(View):
    """Capabilities that an agent has no more."""

    removed: tuple[CapabilityView, ...]
