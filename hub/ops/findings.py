"""What is found in hub.toml by looking further than at its types.

Some of it can be seen in any document, the rest only in one that is valid.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from hub.links import open_files
from hub.ops.locate import KeyPath
from hub.ops.model_settings import OpenAIModelSettings
from hub.ops.places import Place, Places
from hub.ops.problems import Problem, Telling, spell
from hub.ops.secret import IN_THE_OPEN, REFER_TO_IT, looks_secret
from hub.ops.settings import Settings
from hub.ops.storage_settings import IN_MEMORY
from hub.outbound.rules import AddressRefused, OutboundRules


def found_by_looking(doc: Mapping[str, Any], places: Places) -> Iterator[Problem]:
    """What can be seen in any document, valid or not: agents of one name, secrets in the open."""
    seen: dict[tuple[str, str], Place] = {}
    agents = doc.get("agents")
    for number, agent in enumerate(agents if isinstance(agents, list) else []):
        name = agent.get("name") if isinstance(agent, dict) else None
        if isinstance(name, str):
            owner = (str(agent.get("user", "owner")), name)  # a name is unique per user
            place = places.value(("agents", number, "name"))
            if owner in seen:
                hint = f"the other one stands in line {seen[owner].line}"
                yield Problem(*place, f"agents.{number}.name", "another agent has this name", hint)
            seen.setdefault(owner, place)
    for path, text in _strings(doc):
        if looks_secret(text) or path == ("model", "api_key"):
            yield Problem(*places.value(path), spell(path), IN_THE_OPEN, REFER_TO_IT)


def found_beyond(settings: Settings, places: Places, *, now: datetime) -> Iterator[Problem]:
    """What valid settings say that a reader may not expect; what lies in the past of *now* is such."""
    tell = Telling(places)
    yield from _found_in_listeners(settings, tell)
    yield from _found_in_model(settings, tell)
    if settings.storage.url == IN_MEMORY:
        yield tell.warning(("storage", "url"), "in memory: nothing is left after the hub stops")
    yield from _found_in_limits(settings, tell)
    for number, agent in enumerate(settings.agents):
        for key, message, hint in [] if agent.schedule is None else agent.schedule.warnings(now):
            whole: KeyPath = ("agents", number, "schedule")
            yield tell.warning((*whole, key) if places.has((*whole, key)) else whole, message, hint)


def _found_in_listeners(settings: Settings, tell: Telling) -> Iterator[Problem]:
    for name, listener in (("devices", settings.listen.devices), ("operator", settings.listen.operator)):
        if listener.insecure and not listener.address.is_loopback:
            yield tell.warning(("listen", name, "insecure"), "other machines reach this address without TLS")
    devices, operator = settings.listen.devices.address, settings.listen.operator.address
    if devices == operator and devices.port:
        yield tell.error(
            ("listen", "operator", "address"),
            "devices and operators cannot share a port",
            "give each its own, as in 8770 and 8771",
        )


def _found_in_model(settings: Settings, tell: Telling) -> Iterator[Problem]:
    """A name is judged when it is called; what is an address already can be judged now."""
    if not isinstance(settings.model, OpenAIModelSettings):
        return
    host = urlsplit(settings.model.base_url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return
    try:
        OutboundRules.parse(settings.outbound.allow).judge(host, [host])
    except AddressRefused as error:
        yield tell.warning(("model", "base_url"), str(error))


def _found_in_limits(settings: Settings, tell: Telling) -> Iterator[Problem]:
    limits, files = settings.limits, open_files.most()
    if files is None:
        return
    spared = open_files.spared(limits.spare_files, files)
    if limits.connections > files - spared:
        message = (
            f"this process may open {files} files and keeps {spared} for the rest:"
            f" no more than {files - spared} of {limits.connections} connections fit"
        )
        hint = "raise LimitNOFILE= of the unit, or ulimit -n; or write a lower number"
        yield tell.warning(("limits", "connections"), message, hint)


def _strings(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield from _strings(inner, (*path, key))
        case list():
            for number, inner in enumerate(value):
                yield from _strings(inner, (*path, number))
