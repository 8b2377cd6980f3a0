"""Catalogue of connectors by provider name: the entry point for code that needs any connector.

Plug-ins of other packages are entry points of the group ``hub.connectors`` (name -> class), and are used only
if hub.toml allows them by name. Each is loaded on first use; one that fails is listed with the reason and
never prevents the hub's start.
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
    """Unknown or unusable connector. *is_broken*: it is installed and allowed, but cannot be loaded."""

    code = ErrorCode.BAD_CONNECTOR

    def __init__(self, message: str, hint: str, *, is_broken: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_broken = is_broken


class Provider(msgspec.Struct, frozen=True):
    """Provider available for hub.toml. *problem*: why it cannot be used."""

    name: str
    place: str
    is_built_in: bool
    problem: str | None = None


def find(name: str, allowed: Collection[str] = ()) -> ConnectorClass:
    """Return the connector class of a provider.

    Args:
        allowed: plug-ins that hub.toml allows.

    Raises:
        UnknownProvider: the provider is unknown, not allowed, or cannot be loaded.
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
    """Yield every provider, by name; plug-ins that are not allowed are not loaded."""
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
    except Exception as error:  # the import of a foreign package may raise anything
        message = f"the plug-in {name!r} cannot be loaded: {type(error).__name__}"
        raise UnknownProvider(message, hint, is_broken=True) from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise UnknownProvider(f"the plug-in {name!r} is no connector", hint, is_broken=True)
    if found.api_version != API_VERSION:
        message = f"the plug-in {name!r} is of version {found.api_version}, and {API_VERSION} is wanted"
        raise UnknownProvider(message, hint, is_broken=True)
    return found
