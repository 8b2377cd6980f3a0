"""List of available connectors: built-in ones, manifests and allowed plug-ins.

Plug-ins of other packages are entry points of the group ``hub.connectors`` (name -> class), and are used only
if hub.toml allows them by name. Each is loaded on first use; one that fails is listed with the reason and
never prevents the start of the hub.
"""

from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hub.connectors.connector import API_VERSION, Connector, ConnectorClass
from protocol.errors import ErrorCode, HubError
from protocol.similar_names import did_you_mean

GROUP: Final = "hub.connectors"
BUILT_IN: Final = {
    "gmail": "hub.connectors.gmail:Gmail",
    "outlook": "hub.connectors.outlook:Outlook",
    "teams": "hub.connectors.teams:Teams",
    "imap": "hub.connectors.imap:Imap",
    "caldav": "hub.connectors.caldav:CalDavConnector",
    "webhook": "hub.connectors.webhook:Webhook",
    "maildir": "hub.connectors.maildir:Maildir",
    "manifest": "hub.connectors.manifest:ManifestConnector",
    "process": "hub.connectors.process:ProcessConnector",
    "mcp": "hub.connectors.mcp:McpConnector",
}
MANIFESTS: Final = Path(__file__).parent / "manifests"


@cache
def shipped() -> tuple[str, ...]:
    """Return the providers that a manifest describes which comes with the hub."""
    return tuple(sorted(file.stem for file in MANIFESTS.glob("*.toml")))


class UnknownProvider(HubError):
    """Unknown or unusable connector. *is_broken*: it is installed and allowed, but cannot be loaded."""

    code = ErrorCode.BAD_CONNECTOR

    def __init__(self, message: str, hint: str, *, is_broken: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_broken = is_broken


def installed() -> dict[str, str]:
    """Return the installed plug-ins, allowed or not: name -> place of the class."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def find(
    name: str,
    allowed: Collection[str] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    folder: Path = Path(),
) -> ConnectorClass:
    """Return the connector class of a provider.

    Args:
        allowed: plug-ins that hub.toml allows.
        settings: of the connector in hub.toml, which is in *folder*.

    Raises:
        UnknownProvider: the provider is unknown, not allowed, or cannot be loaded.
    """
    place = BUILT_IN["manifest" if name in shipped() else name] if name in (*BUILT_IN, *shipped()) else None
    if place is not None:
        return _loaded(name, place).variant(name, settings, folder)
    plugins = installed()
    if name not in plugins:
        known = [*BUILT_IN, *shipped()]
        near = did_you_mean(name, [*known, *(set(plugins) & set(allowed))])
        hint = near or f"there are {', '.join(sorted(known))}"
        raise UnknownProvider(f"there is no provider {name!r}", hint)
    if name not in allowed:
        hint = f'write [plugins] connectors = ["{name}"] if you trust its package'
        raise UnknownProvider(f"the plug-in {name!r} is installed, and not allowed", hint)
    return _loaded(name, plugins[name]).variant(name, settings, folder)


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
