"""Provider name -> connector: the only door of this folder for those who do not know which one they get.

Plug-ins of other packages come in by the entry point group ``hub.connectors`` (name -> class), and only where
hub.toml allows them by name. Each is loaded when it is first asked for; one that cannot be is listed with
the reason, and never keeps the hub from starting.
"""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

import msgspec

from hub.connectors.connector import API_VERSION, Connector, ConnectorClass
from protocol.errors import ErrorCode, HubError

GROUP: Final = "hub.connectors"
BUILT_IN: Final = {
    "gmail": "hub.connectors.gmail:Gmail",
    "outlook": "hub.connectors.outlook:Outlook",
    "teams": "hub.connectors.teams:Teams",
    "imap": "hub.connectors.imap:Imap",
    "caldav": "hub.connectors.caldav:CalDav",
    "webhook": "hub.connectors.webhook:Webhook",
}


class UnknownProvider(HubError):
    """There is no connector of that name, or it cannot be used. *is_broken*: it is there and allowed."""

    code = ErrorCode.BAD_CONNECTOR

    def __init__(self, message: str, hint: str, *, is_broken: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_broken = is_broken


class Provider(msgspec.Struct, frozen=True):
    """A provider that could be written into hub.toml. *problem*: why it cannot be used."""

    name: str
    place: str
    is_built_in: bool
    problem: str | None = None


def find(name: str, allowed: Collection[str] = ()) -> ConnectorClass:
    """The connector of a provider.

    Args:
        allowed: plug-ins that hub.toml names.

    Raises:
        UnknownProvider: there is none, it is not allowed, or it cannot be loaded.
    """
    place = BUILT_IN.get(name)
    if place is not None:
        return _loaded(name, place)
    plugins = _plugins()
    if name not in plugins:
        near = get_close_matches(name, [*BUILT_IN, *(set(plugins) & set(allowed))], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(BUILT_IN))}"
        raise UnknownProvider(f"there is no provider {name!r}", hint)
    if name not in allowed:
        hint = f'write [plugins] connectors = ["{name}"] if you trust its package'
        raise UnknownProvider(f"the plug-in {name!r} is installed, and not allowed", hint)
    return _loaded(name, plugins[name])


def providers(allowed: Collection[str] = ()) -> Iterator[Provider]:
    """Every provider there is, by name; a plug-in that is not allowed is not loaded."""
    plugins = _plugins()
    for name, place in sorted((plugins | BUILT_IN).items()):
        try:
            find(name, allowed)
            problem = None
        except UnknownProvider as error:
            problem = str(error)
        yield Provider(name, place, name in BUILT_IN, problem)


def _plugins() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}


@cache
def _loaded(name: str, place: str) -> ConnectorClass:
    module, _, attribute = place.partition(":")
    hint = "it may be of another release: update its package"
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever a package of others does when it is imported
        told = f"the plug-in {name!r} cannot be loaded: {type(error).__name__}"
        raise UnknownProvider(told, hint, is_broken=True) from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise UnknownProvider(f"the plug-in {name!r} is no connector", hint, is_broken=True)
    if found.api_version != API_VERSION:
        told = f"the plug-in {name!r} is of version {found.api_version}, and {API_VERSION} is wanted"
        raise UnknownProvider(told, hint, is_broken=True)
    return found
