"""Checks of hub.toml beyond the types of its values: unexpected consequences, secrets and certificates.

Some checks work on any document, the others only on a valid one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from hub import open_files
from hub.open_files import SPARE_FILES
from hub.outbound.rules import AddressRefused, OutboundRules
from hub.settings.agent_findings import found_in_agents, found_in_connectors, found_in_tables
from hub.settings.cluster_settings import ClusterSettings
from hub.settings.listen_settings import TlsSettings
from hub.settings.locate import KeyPath, value_at
from hub.settings.model_settings import ModelSettings, OpenAIModelSettings
from hub.settings.origins import Places
from hub.settings.problems import Problem, Reporter, did_you_mean, is_secret_like
from hub.settings.schedule_settings import TriggerTable
from hub.settings.secret import (
    IN_THE_OPEN,
    REFER_TO_IT,
    SecretMissing,
    SecretRef,
    is_open_to_others,
)
from hub.settings.settings import IN_MEMORY, Settings, StorageSettings
from hub.settings.table_settings import unknown_tables
from protocol.tables import TABLES

_Table = TypeVar("_Table", bound=BaseModel)

# Keys that hold a reference to a secret; the tables may be entries of a list.
_KEYS: Final = (
    ("model", "api_key"),
    ("fallback_models", "api_key"),
    ("transcription", "api_key"),
    ("gateways", "token"),
    ("connectors", "secret"),
    ("connectors", "previous_secret"),
    ("connectors", "client_secret"),
)
# Keys whose values differ in all entries of their list.
_UNIQUE: Final = (
    ("agents", "name", "another agent has this name"),
    ("agents", "external_id", "another agent has this external id"),
    ("templates", "name", "another template has this name"),
    ("gateways", "name", "another gateway has this name"),
    ("connectors", "name", "another connector has this name"),
)
_DATABASE: Final = ("storage", "url")
_BUS: Final = ("cluster", "bus")
_LISTENERS: Final = ("devices", "operator")


class Around(NamedTuple):
    """Context for the resolution of references.

    Attributes:
        folder: base of relative paths.
        is_server: True if the checking process will serve; otherwise it may lack access to some files.
        now: current time, aware.
    """

    folder: Path
    environ: Mapping[str, str]
    is_server: bool
    now: datetime


def found_in_references(doc: Mapping[str, Any], places: Places, around: Around) -> Iterator[Problem]:
    """Yield the problems of all references in *doc*, valid or not.

    An unreadable target is an error only for a process that will serve; an invalid target is always an error.
    """
    report = Reporter(places)
    missing = report.error if around.is_server else report.warning
    for path, secret, resolve in _secrets(doc, around):
        try:
            resolve(around.environ)
        except SecretMissing as error:
            yield missing(path, str(error))
        if secret.file is not None and is_open_to_others(secret.file):
            yield report.warning(path, f"others may read {secret.file}", f"chmod 600 {secret.file}")
    for name in _LISTENERS:
        tls_path = ("listen", name, "tls")
        if (tls := _read(TlsSettings, value_at(doc, tls_path), around)) is not None:
            yield from _found_in_certificate(tls_path, tls, report, missing, around.now)


def _found_in_certificate(
    path: KeyPath,
    tls: TlsSettings,
    report: Reporter,
    missing: Callable[[KeyPath, str], Problem],
    now: datetime,
) -> Iterator[Problem]:
    from hub.api.door.certificates import (  # imported here: it needs a library
        RENEW,
        CertificateUnread,
        CertificateUnusable,
        ending,
        load_pair,
    )

    try:
        pair = load_pair(tls.certificate, tls.key)
    except CertificateUnread as error:
        yield missing(path, str(error))
        return
    except CertificateUnusable as error:
        yield report.error(path, str(error))
        return
    if message := ending(pair.expires_at, now):
        yield report.warning((*path, "certificate"), message, RENEW)
    if is_open_to_others(tls.key):
        yield report.warning((*path, "key"), f"others may read {tls.key}", f"chmod 600 {tls.key}")


def _secrets(
    doc: Mapping[str, Any], around: Around
) -> Iterator[tuple[KeyPath, SecretRef, Callable[[Mapping[str, str]], str]]]:
    """Yield every reference to a secret, with the function that resolves it."""
    if (database := _read(SecretRef, value_at(doc, _DATABASE), around)) is not None:
        yield _DATABASE, database, StorageSettings(url=database).resolved
    if (bus := _read(SecretRef, value_at(doc, _BUS), around)) is not None:
        yield _BUS, bus, ClusterSettings(bus=bus).resolved
    for pattern in _KEYS:
        for path in _paths(doc, pattern):
            if (key := _read(SecretRef, value_at(doc, path), around)) is not None:
                yield path, key, key.resolve


def _paths(doc: Mapping[str, Any], pattern: tuple[str, str]) -> Iterator[KeyPath]:
    """Yield the path of a key in a table, or in each entry of a list of tables."""
    table, key = pattern
    listed = doc.get(table)
    if isinstance(listed, list):
        yield from ((table, number, key) for number in range(len(listed)))
    else:
        yield pattern


def _read(model: type[_Table], value: object, around: Around) -> _Table | None:
    """Validate the table *value*; return None if it is invalid, which another check reports."""
    if not isinstance(value, Mapping):
        return None
    try:
        return model.model_validate(value, context={"base": around.folder})
    except ValidationError:
        return None


def found_by_looking(doc: Mapping[str, Any], places: Places) -> Iterator[Problem]:
    """Yield problems visible in any document, valid or not: names twice or of nothing, literal secrets."""
    report = Reporter(places)
    yield from _found_in_data_types(doc, report)
    for table, key, message in _UNIQUE:
        lines: dict[tuple[str, str], int] = {}
        listed = doc.get(table)
        for number, entry in enumerate(listed if isinstance(listed, list) else []):
            name = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(name, str):
                # The name of an agent is unique per user, all others across users.
                scope = str(entry.get("user", "owner")) if (table, key) == ("agents", "name") else ""
                path: KeyPath = (table, number, key)
                if (scope, name) in lines:
                    yield report.error(path, message, f"the other one is in line {lines[scope, name]}")
                lines.setdefault((scope, name), places.value(path).line)
    for path, text in _strings(doc):
        if is_secret_like(text) or (len(path) <= 3 and (path[0], path[-1]) in _KEYS):
            yield report.error(path, IN_THE_OPEN, REFER_TO_IT)


def _found_in_data_types(doc: Mapping[str, Any], report: Reporter) -> Iterator[Problem]:
    """Yield the names of tables that are neither built in nor declared."""
    tables = [*TABLES, *(table["name"] for table in _entries(doc, "tables") if "name" in table)]
    for number, agent in enumerate(_entries(doc, "agents")):
        names = agent.get("data_types")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            for place, (message, hint) in unknown_tables(names, tables):
                yield report.error(("agents", number, "data_types", place), message, hint)


def _entries(doc: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the entries of a list of tables; an empty one in the place of each that is no table."""
    listed = doc.get(name)
    return [one if isinstance(one, Mapping) else {} for one in listed] if isinstance(listed, list) else []


def found_beyond(settings: Settings, places: Places, *, now: datetime) -> Iterator[Problem]:
    """Yield unexpected consequences of valid settings; times before *now* are among them."""
    report = Reporter(places)
    yield from _found_in_listeners(settings, report)
    yield from _found_in_model(settings, report)
    for number, gateway in enumerate(settings.gateways):
        yield from _found_in_address(gateway.url, ("gateways", number, "url"), settings, report)
    if settings.storage.url == IN_MEMORY:
        yield report.warning(("storage", "url"), "in memory: all data is lost when the hub stops")
    if settings.cluster.bus is not None and str(settings.storage.url).startswith(IN_MEMORY):
        hint = 'write the address of a PostgreSQL in [storage], as in "postgresql://hub@db/hub"'
        yield report.warning(
            _BUS, "no other hub can use this hub's database, so there is no other node", hint
        )
    yield from _found_in_limits(settings, report)
    yield from _found_in_number_of_agents(settings, report)
    yield from _found_in_redaction(settings, report)
    yield from _found_in_use_of_models(settings, report)
    yield from found_in_tables(settings, report)
    yield from found_in_agents(settings, report)
    yield from found_in_connectors(settings, report)
    for number, agent in enumerate(settings.agents):
        timed: list[tuple[KeyPath, TriggerTable]] = [
            (("slots", n), slot) for n, slot in enumerate(agent.slots)
        ]
        timed += [] if agent.schedule is None else [(("schedule",), agent.schedule)]
        for where, (key, message, hint) in (
            (where, message) for where, table in timed for message in table.warnings(now)
        ):
            whole: KeyPath = ("agents", number, *where)
            yield report.warning((*whole, key) if places.has((*whole, key)) else whole, message, hint)


def _found_in_listeners(settings: Settings, report: Reporter) -> Iterator[Problem]:
    for name, listener in settings.listen.named():
        if listener.insecure and not listener.address.is_loopback:
            yield report.warning(
                ("listen", name, "insecure"), "other machines reach this address without TLS"
            )
    devices, operator = settings.listen.devices.address, settings.listen.operator.address
    if devices == operator and devices.port:
        yield report.error(
            ("listen", "operator", "address"),
            "devices and operators cannot share a port",
            "give each its own, as in 8770 and 8771",
        )
    webhooks = settings.listen.webhooks
    if webhooks is not None and webhooks.address.port and webhooks.address in (devices, operator):
        yield report.error(
            ("listen", "webhooks", "address"),
            "webhooks cannot share a port with devices or operators",
            "give them their own, as in 8772",
        )


def _found_in_model(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield model problems; all models must be of the same kind, as they are prompted in the same way."""
    first = settings.model
    if first is not None:
        yield from _found_in_base_url(first, ("model",), settings, report)
    if settings.transcription is not None:
        where: KeyPath = ("transcription", "base_url")
        yield from _found_in_address(settings.transcription.base_url, where, settings, report)
    for number, model in enumerate(settings.fallback_models):
        whole: KeyPath = ("fallback_models", number)
        yield from _found_in_base_url(model, whole, settings, report)
        if first is None:
            yield report.error(whole, "there is no model that it could replace", "write [model] first")
        elif first.kind != model.kind:
            yield report.error(
                (*whole, "kind"),
                "the small model on this machine and an endpoint are prompted differently,"
                " so neither can replace the other",
                f'write kind = "{first.kind}", or leave this table out',
            )
        elif model.kind == "local" or model in (first, *settings.fallback_models[:number]):
            yield report.error(whole, "this model is asked already", "leave this table out")


def _found_in_redaction(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield invalid patterns, and names that match no pattern."""
    from hub.extraction.items import RedactionRule  # imported here: the CLI reads settings without it
    from hub.extraction.redaction import BUILT_IN, problem_of

    patterns = settings.redaction.patterns
    for name, regex in patterns.items():
        if wrong := problem_of(RedactionRule(name, regex)):
            yield report.error(("redaction", "patterns", name), wrong)
    for number, agent in enumerate(settings.agents):
        for name in agent.redact:
            if name not in patterns and (wrong := problem_of(RedactionRule(name))):
                near = did_you_mean(name, (*BUILT_IN, *patterns))
                hint = near or "write its pattern in [redaction]"
                yield report.error(("agents", number, "redact"), f"{name!r}: {wrong}", hint)


def _found_in_use_of_models(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield agents without a usable model, and budgets in money for models without a price."""
    models = [] if settings.model is None else [settings.model, *settings.fallback_models]
    speech = settings.transcription
    has_local = any(model.is_local for model in models)
    is_unpriced = any(not model.has_price for model in models)
    unpriced = "no price is known of a model, so this holds for none of its tokens"
    hint = "write its price_in_usd and price_out_usd; or a budget of tokens"
    for number, agent in enumerate(settings.agents):
        if models and not has_local and not agent.allow_cloud:
            yield report.error(
                ("agents", number, "allow_cloud"),
                "there is no local model to read its documents",
                "name a local endpoint in [model] or [[fallback_models]], or write private = true there",
            )
        if agent.budget_usd is not None and is_unpriced:
            yield report.warning(("agents", number, "budget_usd"), unpriced, hint)
    if speech is not None and speech.price_minute_usd is None:
        is_unpriced = True
    for key in ("run_usd", "day_usd"):
        if is_unpriced and report.places.has(("budget", key)) and getattr(settings.budget, key):
            yield report.warning(("budget", key), unpriced, hint)


def _found_in_base_url(
    model: ModelSettings, path: KeyPath, settings: Settings, report: Reporter
) -> Iterator[Problem]:
    if isinstance(model, OpenAIModelSettings):
        yield from _found_in_address(model.base_url, (*path, "base_url"), settings, report)


def _found_in_address(url: str, path: KeyPath, settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Warn of a forbidden IP address; a host name is checked only when the hub connects to it."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return
    try:
        OutboundRules.parse(settings.outbound.allow).judge(host, [host])
    except AddressRefused as error:
        yield report.warning(path, str(error))


def _found_in_number_of_agents(settings: Settings, report: Reporter) -> Iterator[Problem]:
    """Yield the first agent of each user that is too many."""
    most = settings.limits.agents_per_user
    counts = Counter[str]()
    for number, agent in enumerate(settings.agents):
        counts[agent.user] += 1
        if counts[agent.user] == most + 1:
            message = f"user {agent.user!r} has more than {most} agents (agents_per_user)"
            hint = "raise agents_per_user in [limits], or leave agents of this user out"
            yield report.error(("agents", number, "name"), message, hint)


def _found_in_limits(settings: Settings, report: Reporter) -> Iterator[Problem]:
    limits, files = settings.limits, open_files.most()
    if files is None:
        return
    spared = open_files.spared(SPARE_FILES, files)
    if limits.connections > files - spared:
        message = (
            f"this process may open {files} files and keeps {spared} for the rest:"
            f" no more than {files - spared} of {limits.connections} connections fit"
        )
        hint = "raise LimitNOFILE= of the unit, or ulimit -n; or write a lower number"
        yield report.warning(("limits", "connections"), message, hint)


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
