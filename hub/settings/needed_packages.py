"""Packages of extras that settings need: a hub without them does not start.

This table is what ``hub check`` and each start of a hub read.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Final

from hub.base.toml.positions import KeyPath
from hub.base.toml.problems import Reporter, SettingsProblem
from hub.base.toml.values import SecretMissing
from hub.base.version import WEIGHTS, command_to_add
from hub.settings.settings import LocalModelSettings, Settings
from storage.kernel.address import SERVER

_OF_SERVER: Final = ("asyncpg", "greenlet")  # imported by storage.kernel.postgres


def found_in_packages(
    settings: Settings, report: Reporter, environ: Mapping[str, str], *, is_server: bool
) -> Iterator[SettingsProblem]:
    """Yield the missing packages: errors for a process that will serve, as a hub elsewhere may have them."""
    missing = report.error if is_server else report.warning
    for path, extra, package in _needed_packages(settings, environ):
        if find_spec(package) is None:
            message = f"needs the package {package}, of the extra [{extra}]"
            yield missing(path, message, command_to_add(extra))


def _needed_packages(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield the key, the extra and the package of each need."""
    if isinstance(settings.model, LocalModelSettings):
        yield ("model", "kind"), "local", "xllamacpp"
        yield ("model", "kind"), "local", next(filter(find_spec, WEIGHTS), WEIGHTS[0])
    if settings.listen.operator.assistants:
        yield ("listen", "operator", "assistants"), "mcp", "mcp"
    with suppress(SecretMissing):  # another check reports it
        if settings.storage.resolved(environ).startswith(SERVER):
            for package in _OF_SERVER:
                yield ("storage", "url"), "cluster", package
            if settings.cluster.bus is not None:
                yield ("cluster", "bus"), "cluster", "nats"
