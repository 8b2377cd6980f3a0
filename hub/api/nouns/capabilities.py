"""What agents can do: read, registered and removed."""

from collections.abc import Sequence

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, Matching, tag_of
from hub.api.facade import HubFacade
from hub.api.views.capabilities import CapabilityView, RegisteredView, RemovedCapabilities, WantedCapability
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(
    prefix="/v1/agents/{name}/capabilities", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT)
)

_REFUSED = refusals(
    ErrorCode.UNKNOWN_AGENT,
    ErrorCode.UNKNOWN_CAPABILITY,
    ErrorCode.MANAGED_BY_FILE,
    ErrorCode.LIMIT_REACHED,
    ErrorCode.TOO_LARGE,
)


class CapabilitiesView(View):
    """What an agent can do."""

    capabilities: tuple[CapabilityView, ...]


@router.get("")
async def list_capabilities(hub: Hub, name: str, match: Match) -> CapabilitiesView:
    """What an agent can do: by name, of each the newest version first."""
    found = await hub.capabilities.of_agent(name)
    match.tell(_tag(found))
    return CapabilitiesView(capabilities=tuple(found))


@router.put("/{capability}/{version}", responses=_REFUSED)
async def register_capability(
    hub: Hub, actor: Actor, name: str, capability: str, version: str, match: Match, wanted: WantedCapability
) -> RegisteredView:
    """Say that an agent can do something, in a semantic version. Enabling it disables its other versions."""
    await _check(hub, name, match)
    return await hub.capabilities.register(name, capability, version, wanted, actor=actor)


@router.delete("/{capability}", responses=_REFUSED)
async def remove_capability(
    hub: Hub, actor: Actor, name: str, capability: str, match: Match
) -> RemovedCapabilities:
    """Remove a capability of an agent in all its versions."""
    await _check(hub, name, match)
    gone = await hub.capabilities.remove(name, capability, None, actor=actor)
    return RemovedCapabilities(removed=tuple(gone))


@router.delete("/{capability}/{version}", responses=_REFUSED)
async def remove_capability_version(
    hub: Hub, actor: Actor, name: str, capability: str, version: str, match: Match
) -> RemovedCapabilities:
    """Remove one version of a capability of an agent."""
    await _check(hub, name, match)
    gone = await hub.capabilities.remove(name, capability, version, actor=actor)
    return RemovedCapabilities(removed=tuple(gone))


def _tag(found: Sequence[CapabilityView]) -> str:
    return tag_of([one.model_dump(mode="json") for one in found])


async def _check(hub: HubFacade, name: str, match: Matching) -> None:
    if match.is_asked:
        match.check(_tag(await hub.capabilities.of_agent(name)))
