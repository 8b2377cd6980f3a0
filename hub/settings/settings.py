"""Tree of all tables of hub.toml.

Each table is a separate model; ``hub.settings.reading`` creates this tree from a file and reports all
problems. Only the daemon and the CLI read settings: all other code takes plain arguments with units in their
names.
"""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from hub.outbound.rules import OutboundRules, is_this_machine
from hub.settings.agent_settings import (
    AgentSettings,
    Connectors,
    CoordinationSettings,
    DeclaredTables,
    Gateways,
    TemplateSettings,
)
from hub.settings.limit_settings import (
    AuditSettings,
    BackupSettings,
    BudgetSettings,
    ClusterSettings,
    Limits,
    Listen,
    RetentionSettings,
)
from hub.settings.model_settings import ModelSettings, TranscriptionSettings
from hub.settings.values import (
    IN_THE_OPEN,
    REFER_TO_IT,
    Flag,
    Name,
    SecretMissing,
    SecretRef,
    Table,
    live,
    refusal,
    restart,
    shaped,
)
from storage.kernel.address import SERVER, SQLITE, fault_of, has_password

IN_MEMORY = SQLITE


def _is_database(url: str) -> bool:
    return url == IN_MEMORY or url.startswith((f"{SQLITE}/", SERVER))


def _database_url(url: str) -> str:
    if not _is_database(url):
        hint = f'as in "sqlite:///hub.db" or "{SERVER}user@host/name"'
        raise refusal("database", "not the address of a database", hint=hint)
    if url.startswith(SERVER) and has_password(url):
        raise refusal("literal_secret", IN_THE_OPEN, hint=REFER_TO_IT)
    if url.startswith(SERVER) and (fault := fault_of(url)):
        raise refusal("database", fault)
    return url


DatabaseUrl = Annotated[
    str,
    AfterValidator(_database_url),
    shaped(f"^({SQLITE}|{SERVER})", "sqlite:///hub.db", f"{SERVER}user@host/name"),
]


def _kind(value: object) -> str:
    return "reference" if isinstance(value, dict | SecretRef) else "plain"


class StorageSettings(Table):
    """``[storage]``: a relative path is in the state folder; ``sqlite://`` keeps nothing.

    An address with a password in it is a secret, and must be a reference.
    """

    url: Annotated[
        Annotated[DatabaseUrl, Tag("plain")] | Annotated[SecretRef, Tag("reference")],
        Discriminator(_kind),
    ] = restart("sqlite:///hub.db", "Database: a file in the state folder, or a server.")

    def resolved(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the database's address, resolved if it is a reference.

        Raises:
            SecretMissing: the reference cannot be resolved, or not to a valid database address.
        """
        if isinstance(self.url, str):
            return self.url
        url = self.url.resolve(environ)
        if not _is_database(url):
            raise SecretMissing(f"{self.url.place} does not hold the address of a database")
        if url.startswith(SERVER) and (fault := fault_of(url)):
            raise SecretMissing(f"{self.url.place}: {fault}")
        return url


class LogSettings(Table):
    """``[log]``: what the hub writes to its log."""

    level: Literal["debug", "info", "warning", "error"] = live("info", "Lowest level that is logged.")
    content: Flag = live(False, "Also log prompts and document excerpts; for debugging only.")


def _host_or_network(entry: str) -> str:
    try:
        OutboundRules.parse([entry])
    except ValueError as error:
        raise refusal(
            "outbound", str(error), hint='as in "10.0.0.0/8", "192.168.1.5" or "model.lan"'
        ) from error
    return entry


HostOrNetwork = Annotated[
    str, AfterValidator(_host_or_network), shaped(r"^[\w.:-]+(/[0-9]{1,3})?$", "10.0.0.0/8", "model.lan")
]


class OutboundSettings(Table):
    """``[outbound]``: where the hub itself may connect to, in addition to public addresses."""

    allow: tuple[HostOrNetwork, ...] = restart(
        (), 'Private hosts and networks that the hub may connect to, as in "10.0.0.0/8".'
    )


class PluginSettings(Table):
    """``[plugins]``: installed packages that are used; by default none."""

    connectors: tuple[Name, ...] = restart((), "Names of connector providers to load.")


Regex = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class RedactionSettings(Table):
    """``[redaction]``: named patterns in addition to email, phone, iban, card, ip and address."""

    patterns: Annotated[dict[str, Regex], Field(max_length=50)] = live(
        {}, "Regular expressions by name, for the key redact of agents."
    )


_SENDER: Final = r"^(?:[^@\s<>\",;]{1,64}@)?(?:[\w-]{1,63}\.)+[\w-]{2,63}$"


def _sender(written: str) -> str:
    sender = written.lower().removeprefix("@")
    if not re.fullmatch(_SENDER, sender):
        hint = 'as in "anna@example.org" or "example.org"'
        raise refusal("sender", "neither a mail address nor a domain", hint=hint)
    return sender


Sender = Annotated[str, AfterValidator(_sender), shaped(r"^@?[^\s<>]+$", "anna@example.org", "example.org")]


class TrustSettings(Table):
    """``[trust]``: people who may write to the owners of this hub without a mark on their items."""

    senders: Annotated[tuple[Sender, ...], Field(max_length=1_000)] = live(
        (), "Known senders: addresses, and domains with all their addresses."
    )


def _receiver(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment or "@" in url:
        raise refusal("otlp", "not the address of an OTLP receiver", hint='as in "http://localhost:4318"')
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        raise refusal("otlp", "other machines are called by https only", hint="run a collector here")
    return url


class TraceSettings(Table):
    """``[traces]``: where traces of runs go."""

    otlp: Annotated[str, AfterValidator(_receiver), shaped("^https?://", "http://localhost:4318")] | None = (
        restart(None, "OpenTelemetry receiver (OTLP/HTTP) for the spans of runs.")
    )


class ReloadSettings(Table):
    """``[reload]``: how an edit of hub.toml is applied."""

    watch: Flag = live(True, "Apply a valid edit automatically; otherwise run 'hub reload'.")


class HubSettings(Table):
    """``[hub]``: what people call this hub."""

    name: Name = restart("home", "Name of this hub.")


class Settings(Table):
    """Complete settings of hub.toml."""

    hub: HubSettings = HubSettings()
    listen: Listen = Listen()
    storage: StorageSettings = StorageSettings()
    cluster: ClusterSettings = ClusterSettings()
    model: ModelSettings | None = live(
        None, "Model that finds items in plain text; without one, only rules do."
    )
    fallback_models: tuple[ModelSettings, ...] = live(
        (), "Models used in this order when the model fails or has no quota left."
    )
    transcription: TranscriptionSettings | None = live(
        None, "Endpoint that converts recordings to text; without one, they are not read."
    )
    agents: tuple[AgentSettings, ...] = live((), "What to read on which device, and what to find in it.")
    tables: DeclaredTables = live((), "Tables of a device beside the built-in ones.")
    templates: tuple[TemplateSettings, ...] = live((), "What agents of one kind have in common.")
    gateways: Gateways = live((), "OpenClaw gateways, through which agents and people are reached.")
    connectors: Connectors = live((), "Mailboxes and the like, which agents read instead of files.")
    coordination: CoordinationSettings = CoordinationSettings()
    budget: BudgetSettings = BudgetSettings()
    redaction: RedactionSettings = RedactionSettings()
    trust: TrustSettings = TrustSettings()
    plugins: PluginSettings = PluginSettings()
    limits: Limits = Limits()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()
    reload: ReloadSettings = ReloadSettings()
    outbound: OutboundSettings = OutboundSettings()
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
