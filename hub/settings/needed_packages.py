"""Packages of extras that settings need: a hub without them does not start, or leaves files out.

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
    for number, agent in enumerate(settings.agents):
        for message, hint in _unread_kinds(agent.file_extensions, settings):
            yield report.warning(("agents", number, "file_extensions"), message, hint)


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


def _unread_kinds(endings: tuple[str, ...], settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield message and hint about each of an agent's file extensions that this hub cannot read."""
    if not endings:
        return
    from hub.text import office, pictures
    from hub.text.files import AUDIO, OFFICE, PICTURES, media_type_of

    for ending in endings:
        kind = media_type_of(f"x{ending}")
        if kind in AUDIO and settings.transcription is None:
            yield f"{ending} is read only with [transcription]", "write that table, or leave it out"
        for kinds, extra, is_installed in (
            (OFFICE, "files", office.is_installed),
            (PICTURES, "ocr", pictures.is_installed),
        ):
            if kind in kinds and not is_installed():
                message = f"{ending} is read only on devices that have the extra [{extra}]: this hub has not"
                yield message, command_to_add(extra)
