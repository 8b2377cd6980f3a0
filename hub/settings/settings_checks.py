"""Checks of a whole hub.toml: names, references, secrets, contradictions and removed keys.

Some checks work on any document, the others only on a valid one. Warnings of schedules that are probably not
meant are in ``agent_settings``, and collected here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from hub.base import open_files
from hub.base.open_files import SPARE_FILES
from hub.base.outbound.rules import AddressRefused, OutboundRules
from hub.base.printable import shell_word
from hub.base.system.files import is_open_to_others
from hub.base.toml.cluster import ClusterSettings
from hub.base.toml.listeners import Listen, TlsSettings
from hub.base.toml.origins import TomlPositions
from hub.base.toml.positions import KeyPath, value_at
from hub.base.toml.problems import Reporter, SettingsProblem, is_secret_like
from hub.base.toml.sentences import sentence
from hub.base.toml.values import IN_THE_OPEN, REFER_TO_IT, SecretMissing, SecretRef
from hub.settings.agent_settings import AgentSettings, TriggerTable
from hub.settings.settings import IN_MEMORY, ModelSettings, OpenAIModelSettings, Settings, StorageSettings
from hub.settings.table_settings import unknown_tables
from protocol.similar_names import did_you_mean
from protocol.tables import REFERENCES, TABLES, problems_in

if TYPE_CHECKING:  # their dependencies are imported only if templates or agents need a check
    from storage.agents.agent_snapshot import Setup
    from storage.agents.declared_agents import DeclaredAgent
    from storage.agents.templates import WrittenTemplate


def found_in_agents(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
    """Yield problems of unusable templates, and of agents that do not fit their template."""
    if not settings.templates and not any(
        agent.template is not None or "{{" in (agent.prompt or "") or _may_miss_something(agent)
        for agent in settings.agents
    ):
        return
    from hub.settings.declared import written_template

    usable: dict[str, WrittenTemplate] = {}
    for number, template in enumerate(settings.templates):
        written = written_template(template)
        wrong = list(_wrong_in(written))
        for key, message in wrong:
            yield report.error(("templates", number, key), message)
        if not wrong:
            usable[template.name] = written
    yield from _found_in_setups(settings, usable, report)


def _may_miss_something(agent: AgentSettings) -> bool:
    """Return True if runs or slots of the agent may lack a setting."""
    has_source = agent.paths is not None or agent.connector is not None
    return not (agent.device and has_source and agent.data_types and agent.prompt)


def setup_in(agent: "DeclaredAgent", templates: "Mapping[str, WrittenTemplate]") -> "Setup":
    """Return the configuration of an agent of hub.toml, completed by that of its template."""
    from storage.agents.agent_snapshot import Setup

    return Setup(
        name=agent.name,
        user=agent.user_name or "",
        device=agent.device_name or "",
        timezone=agent.timezone,
        data_types=agent.data_types,
        prompt=agent.prompt,
        template=None if agent.template is None else templates.get(agent.template),
        configs={entry.key: entry.value for entry in agent.config},
        paths=agent.paths,
        mailbox=agent.mailbox,
        has_schedule=agent.schedule is not None,
        has_slots=bool(agent.slots),
    )


def _wrong_in(template: "WrittenTemplate") -> Iterator[tuple[str, str]]:
    """Yield each faulty key of a template with its problem."""
    from hub.agents.prompts import problems_in
    from hub.agents.schemas import BadSchema, check_schema

    try:
        check_schema(template.configuration_schema, template.default_configuration)
    except BadSchema as error:
        key, _, message = str(error).partition(": ")
        yield key, message
    for wrong in problems_in(template.prompt_template or "", None):
        yield "prompt", wrong


def _found_in_setups(
    settings: Settings, templates: "Mapping[str, WrittenTemplate]", report: Reporter
) -> Iterator[SettingsProblem]:
    from hub.agents.schemas import problems_of
    from hub.settings.declared import declared_agent
    from storage.agents.agents import spell_missing

    declared = {template.name for template in settings.templates}
    for number, agent in enumerate(settings.agents):
        if agent.template is not None and agent.template not in declared:
            message = "no template of this file has this name"
            hint = "create it over the API first: hub templates put"
            yield report.warning(("agents", number, "template"), message, hint)
        elif agent.template is None or agent.template in templates:
            row = declared_agent(
                agent, run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns
            )
            setup = setup_in(row, templates)
            if setup.missing_for_runs and not setup.problems:  # else they are among them
                message = f"its runs cannot start without {spell_missing(setup.missing_for_runs)}"
                yield report.warning(("agents", number, "name"), message)
            for wrong in problems_of(setup):
                key, sign, message = wrong.partition(": ")
                if sign and getattr(agent, key, None):
                    yield report.error(("agents", number, key), message)
                else:
                    yield report.error(("agents", number, "name"), wrong.removeprefix("prompt: "))


def found_in_tables(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
    """Yield the problems of declared tables."""
    names: set[str] = set()
    for number, table in enumerate(settings.tables):
        for key, message in problems_in(table.declaration):
            path = [int(part) if part.isdigit() else part for part in key.split(".")]
            yield report.error(("tables", number, *path), message)
        if table.name.lower() in names:
            message = "another table has this name"
            yield report.error(("tables", number, "name"), message, "case does not make a difference")
        names.add(table.name.lower())
        fields = [field.name for field in table.fields]
        for place, name in enumerate(table.needs):
            if name not in fields and name not in REFERENCES:
                near = did_you_mean(name, fields)
                hint = near or f"a field of the table is expected, or {' or '.join(REFERENCES)}"
                yield report.error(("tables", number, "needs", place), f"there is no field {name!r}", hint)


def found_in_connectors(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
    """Yield problems of unknown providers, refused settings or filters, and missing connectors."""
    allowed = settings.plugins.connectors
    if not (settings.connectors or allowed or any(agent.connector for agent in settings.agents)):
        return
    # Imported here: most settings have no connectors.
    from hub.connectors.catalogue import UnknownProvider, find, installed
    from hub.connectors.connector import Auth, ConnectorClass

    plugins = installed() if allowed else {}
    for number, name in enumerate(allowed):
        if name not in plugins:
            hint = did_you_mean(name, plugins) or "install the package that has it, or leave the name out"
            yield report.warning(
                ("plugins", "connectors", number), f"no installed plug-in is called {name!r}", hint
            )
    kinds: dict[str, ConnectorClass] = {}
    for number, connector in enumerate(settings.connectors):
        whole: KeyPath = ("connectors", number)
        try:
            kind = kinds[connector.name] = find(
                connector.provider, settings.plugins.connectors, connector.settings, connector.folder
            )
        except UnknownProvider as error:
            # A broken plug-in must not prevent the hub's start.
            problem = report.warning if error.is_broken else report.error
            yield problem((*whole, "provider"), str(error), error.hint)
            continue
        place = (*whole, "settings")
        yield from _not_taken(kind.settings_model, connector.settings, place, report, base=connector.folder)
        if kind.auth is Auth.SECRET and connector.secret is None:
            hint = 'write secret = { file = "PATH" } or { env = "NAME" }'
            yield report.error(whole, f"{connector.provider} requires a secret", hint)
        if connector.provider == "webhook" and settings.listen.webhooks is None:
            yield report.error(
                whole, "there is no listener for webhooks", "write [listen.webhooks] with an address"
            )
    yield from _found_in_agents(settings, kinds, report)


def _found_in_agents(
    settings: Settings, kinds: Mapping[str, Any], report: Reporter
) -> Iterator[SettingsProblem]:
    declared = {connector.name: connector for connector in settings.connectors}
    read_by: dict[str, str] = {}
    for number, agent in enumerate(settings.agents):
        if agent.connector is None:
            continue
        key: KeyPath = ("agents", number, "connector")
        connector = declared.get(agent.connector)
        if connector is None or connector.user != agent.user:
            his = [connector.name for connector in settings.connectors if connector.user == agent.user]
            near = did_you_mean(agent.connector, his)
            yield report.error(
                key, f"there is no connector {agent.connector!r}", near or "write it in [[connectors]]"
            )
            continue
        if connector.provider == "webhook" and agent.connector in read_by:
            message = f"the agent {read_by[agent.connector]!r} reads this webhook already"
            hint = "a webhook has one agent: give the other agent a webhook of its own"
            yield report.error(key, message, hint)
        read_by.setdefault(agent.connector, agent.name)
        kind = kinds.get(agent.connector)
        if kind is None:
            continue
        yield from _not_taken(kind.filter_model, agent.filter, ("agents", number, "filter"), report)
        if agent.push and not kind.can_push and connector.provider != "webhook":
            message = f"{connector.provider} cannot notify of new messages"
            yield report.error(("agents", number, "push"), message, "leave it out; a schedule reads it")


def _not_taken(
    model: type[BaseModel],
    given: Mapping[str, Any],
    whole: KeyPath,
    report: Reporter,
    *,
    base: Path | None = None,
) -> Iterator[SettingsProblem]:
    try:
        model.model_validate(given, context=None if base is None else {"base": base})
    except ValidationError as error:
        for found in error.errors(include_url=False):
            context = found.get("ctx", {})
            what = sentence(found["type"], found["msg"], found["input"], context)
            path: KeyPath = (*whole, *found["loc"])
            hint = what.hint
            if found["type"] == "extra_forbidden" and not hint:
                hint = did_you_mean(str(found["loc"][-1]), model.model_fields)
                hint = hint or f"known are {', '.join(model.model_fields)}"
            yield report.error(path, what.message, hint)


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
    ("notify", "secret"),
)
_SIGNING: Final = ("secret", "previous_secret")
# Keys whose values differ in all entries of their list.
_UNIQUE: Final = (
    ("agents", "name", "another agent has this name"),
    ("agents", "external_id", "another agent has this external id"),
    ("templates", "name", "another template has this name"),
    ("gateways", "name", "another gateway has this name"),
    ("connectors", "name", "another connector has this name"),
    ("notify", "name", "another target has this name"),
)
_DATABASE: Final = ("storage", "url")
_BUS: Final = ("cluster", "bus")


class ReferenceContext(NamedTuple):
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


def found_in_references(
    doc: Mapping[str, Any], places: TomlPositions, around: ReferenceContext
) -> Iterator[SettingsProblem]:
    """Yield the problems of all references in *doc*, valid or not.

    A secret that is missing, or with which no hub starts, is an error only for a process that will serve: a
    hub elsewhere may have another one. An invalid certificate is always an error.
    """
    report = Reporter(places)
    missing = report.error if around.is_server else report.warning
    for path, secret, resolve in _secrets(doc, around):
        try:
            text = resolve(around.environ)
        except SecretMissing as error:
            yield missing(path, str(error))
        else:
            if message := _problem_of_secret(value_at(doc, path[:-1]), path, text, around):
                yield missing(path, message, f"write another one to {secret.place}")
        if secret.file is not None and is_open_to_others(secret.file):
            remedy = f"chmod 600 {shell_word(secret.file)}"
            yield report.warning(path, f"others may read {secret.file}", remedy)
    for name in Listen.model_fields:
        tls_path = ("listen", name, "tls")
        if (tls := _read(TlsSettings, value_at(doc, tls_path), around)) is not None:
            yield from _found_in_certificate(tls_path, tls, report, missing, around.now)


def _found_in_certificate(
    path: KeyPath,
    tls: TlsSettings,
    report: Reporter,
    missing: Callable[[KeyPath, str], SettingsProblem],
    now: datetime,
) -> Iterator[SettingsProblem]:
    from hub.base.certificates import (  # imported here: it needs a library
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
        yield report.warning((*path, "key"), f"others may read {tls.key}", f"chmod 600 {shell_word(tls.key)}")


def _secrets(
    doc: Mapping[str, Any], around: ReferenceContext
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


def _problem_of_secret(table: Any, path: KeyPath, text: str, around: ReferenceContext) -> str | None:
    """Return why the hub would not start with the secret *text* of a table, or None; it is not quoted."""
    match path[0], table:
        case "connectors", {"provider": "webhook"} if path[-1] in _SIGNING:
            from hub.connectors import webhook  # imported here, as below: few settings have such a table

            settings = _read(webhook.WebhookSettings, table.get("settings", {}), around)
            return None if settings is None else webhook.problem_of(settings.source, text)
        case "notify", {"kind": "webhook"}:
            from hub.notify.sending import BadSecret, signatures

            try:
                signatures(text, "", 0, b"")
            except BadSecret as error:
                return str(error)
    return None


def _paths(doc: Mapping[str, Any], pattern: tuple[str, str]) -> Iterator[KeyPath]:
    """Yield the path of a key in a table, or in each entry of a list of tables."""
    table, key = pattern
    listed = doc.get(table)
    if isinstance(listed, list):
        yield from ((table, number, key) for number in range(len(listed)))
    else:
        yield pattern


def _read(model: type[_Table], value: object, around: ReferenceContext) -> _Table | None:
    """Validate the table *value*; return None if it is invalid, which another check reports."""
    if not isinstance(value, Mapping):
        return None
    try:
        return model.model_validate(value, context={"base": around.folder})
    except ValidationError:
        return None


def found_by_looking(doc: Mapping[str, Any], places: TomlPositions) -> Iterator[SettingsProblem]:
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


def _found_in_data_types(doc: Mapping[str, Any], report: Reporter) -> Iterator[SettingsProblem]:
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
    return (
        [table if isinstance(table, Mapping) else {} for table in listed] if isinstance(listed, list) else []
    )


def found_beyond(settings: Settings, places: TomlPositions, *, now: datetime) -> Iterator[SettingsProblem]:
    """Yield unexpected consequences of valid settings; times before *now* are among them."""
    report = Reporter(places)
    yield from _found_in_listeners(settings, report)
    yield from _found_in_model(settings, report)
    for number, gateway in enumerate(settings.gateways):
        yield from _found_in_address(gateway.url, ("gateways", number, "url"), settings, report)
    for number, target in enumerate(settings.notify):
        yield from _found_in_address(target.url, ("notify", number, "url"), settings, report)
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


def _found_in_listeners(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
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


def _found_in_model(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
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


def _found_in_redaction(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
    """Yield invalid patterns, and names that match no pattern."""
    from hub.text.redaction import BUILT_IN, problem_of
    from protocol.secret_rules import RedactionRule  # imported here: the CLI reads settings without it

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


def _found_in_use_of_models(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
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
) -> Iterator[SettingsProblem]:
    if isinstance(model, OpenAIModelSettings):
        yield from _found_in_address(model.base_url, (*path, "base_url"), settings, report)


def _found_in_address(
    url: str, path: KeyPath, settings: Settings, report: Reporter
) -> Iterator[SettingsProblem]:
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


def _found_in_number_of_agents(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
    """Yield the first agent of each user that is too many."""
    most = settings.limits.agents_per_user
    counts = Counter[str]()
    for number, agent in enumerate(settings.agents):
        counts[agent.user] += 1
        if counts[agent.user] == most + 1:
            message = f"user {agent.user!r} has more than {most} agents (agents_per_user)"
            hint = "raise agents_per_user in [limits], or leave agents of this user out"
            yield report.error(("agents", number, "name"), message, hint)


def _found_in_limits(settings: Settings, report: Reporter) -> Iterator[SettingsProblem]:
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


# Former keys of [limits], with the value that the hub always uses: a constant in the code that uses it.
REMOVED: Final[Mapping[str, float | str]] = {
    "handshake_timeout_s": 5.0,
    "hello_timeout_s": 10.0,
    "hello_bytes": 16_384,
    "message_bytes": 1_048_576,
    "message_fragments": 4_096,
    "strangers": 256,
    "strangers_per_network": "half of connections_per_network, at least 16",
    "new_connections_at_once": "twice new_connections_per_s",
    "spare_files": 256,
    "auth_window_s": 60.0,
    "auth_wait_s": 300.0,
    "auth_wait_most_s": 3_600.0,
    "pairing_ttl_s": 600.0,
    "pairings": 50,
    "pairings_per_network": 3,
    "key_rotation_wait_s": 60.0,
    "takeovers": 6,
    "takeover_window_s": 60.0,
    "takeover_wait_s": 300.0,
    "outgoing_bytes": 1_048_576,
    "outgoing_frames": 1_024,
    "pending_calls": 256,
    "write_timeout_s": 10.0,
    "call_timeout_s": 30.0,
    "wake_answer_s": 60.0,
    "call_sends": 5,
    "posted_waiting": 1_000,
    "posts_at_once": 32,
    "webhook_connections": 128,
    "webhook_connections_per_network": 64,
    "waiting_runs_per_device": 1_000,
    "waiting_runs_per_schedule": 100,
    "waiting_manual_runs": 20,
    "waiting_manual_runs_per_device": 100,
    "agents": 10_000,
    "templates": 200,
    "run_context_bytes": 16_384,
    "capabilities_per_agent": 256,
    "capability_config_bytes": 16_384,
    "checkpoints_per_agent": 16,
    "checkpoint_bytes": 65_536,
    "waiting_requests": 16,
    "device_events": 256,
    "metric_series_per_agent": 50,
    "metric_series": 2_000,
    "metric_reports_at_once": 50,
    "metric_reports_per_s": 5.0,
    "metric_points": 2_000,
    "metric_buckets": 100_000,
    "config_keys": 256,
    "config_value_bytes": 65_536,
    "config_bytes": 262_144,
    "resource_usage_bytes": 4_096,
    "locks_per_user": 1_000,
    "lock_waits": 100,
    "lock_waits_per_device": 16,
    "cancel_grace_s": 30.0,
    "paused_days": 7,
    "operator_body_bytes": 1_048_576,
    "device_tokens": 20_000,
    "device_tokens_per_user": 5_000,
    "operator_tokens": 100,
    "operator_tokens_per_user": 25,
    "operator_token_days": 90,
    "agent_tokens_per_agent": 16,
    "agent_token_days": 90,
    "boards_per_user": 1_000,
    "members_per_board": 64,
    "memory_items_per_board": 10_000,
    "memory_bytes": 65_536,
    "open_messages_per_user": 10_000,
    "agent_message_bytes": 32_768,
    "boards_per_broadcast": 1_000,
    "open_questions_per_user": 200,
    "soul_bytes": 262_144,
    "soul_versions": 200,
    "users": 1_000,
    "invitations": 100,
    "invitations_per_user": 25,
    "invitation_ttl_s": 600.0,
    "wrong_codes": 5,
    "wrong_code_window_s": 600.0,
    "wrong_code_wait_s": 600.0,
    "operator_body_timeout_s": 30.0,
    "operator_connections_per_network": "a quarter of operator_connections",
    "operator_strangers": 64,
    "operator_strangers_per_network": 16,
    "operator_new_connections_at_once": "as many as operator_connections",
    "operator_new_connections_per_s": "as many as operator_connections",
    "operator_head_timeout_s": 30.0,
    "log_entries": 2_000,
    "log_queue": 8_192,
    "log_repeats": 10,
}


def removed_value(path: KeyPath) -> str:
    """Return the value that the hub uses in place of a removed key; empty for any other key."""
    match path:
        case ("limits", str(name)) if name in REMOVED:
            value = REMOVED[name]
            return value if isinstance(value, str) else f"{value:_.15g}"
        case _:
            return ""


def drop_removed(doc: dict[str, Any]) -> list[KeyPath]:
    """Delete the removed keys in *doc* itself, and return them."""
    table = doc.get("limits")
    if not isinstance(table, dict):
        return []
    found: list[KeyPath] = [("limits", name) for name in table if name in REMOVED]
    if found:
        doc["limits"] = {name: value for name, value in table.items() if name not in REMOVED}
    return found
