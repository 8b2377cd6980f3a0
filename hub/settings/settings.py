"""All tables of hub.toml: models, storage, log, outbound, redaction, trust and others.

Each table is a separate model; ``hub.settings.reading`` creates this tree from a file and reports all
problems. Only the daemon and the CLI read settings: all other code takes plain arguments with units in their
names.

``[model]``: model that extracts items from plain text; ``[[fallback_models]]``: its substitutes.
"""

import os
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from hub.base.outbound.rules import OutboundRules, is_this_machine
from hub.base.toml.cluster import ClusterSettings
from hub.base.toml.limits import AuditSettings, BackupSettings, BudgetSettings, Limits, RetentionSettings
from hub.base.toml.listeners import Listen
from hub.base.toml.notify_targets import NotifyTargets
from hub.base.toml.values import (
    IN_THE_OPEN,
    REFER_TO_IT,
    REQUIRED,
    Flag,
    Name,
    Seconds,
    SecretMissing,
    SecretRef,
    SettingsTable,
    Usd,
    Whole,
    live,
    refusal,
    restart,
    shaped,
    url_parts,
)
from hub.settings.agent_settings import AgentSettings, TemplateSettings
from hub.settings.connector_settings import Connectors
from hub.settings.gateway_settings import CoordinationSettings, Gateways
from hub.settings.table_settings import DeclaredTables
from storage.kernel.address import SERVER, SQLITE, fault_of, has_password


def _web_address(url: str) -> str:
    if url_parts(url, "http", "https") is None:
        raise refusal("url", "not the address of a web service", hint='as in "https://host/v1"')
    return url


class EndpointAccess(SettingsTable):
    """Settings of an endpoint with the interface of OpenAI."""

    base_url: Annotated[str, AfterValidator(_web_address), shaped(r"^https?://[^/ ]+", "https://host/v1")] = (
        live(REQUIRED, "URL of the endpoint.")
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = live(
        REQUIRED, "The model's name at its endpoint."
    )
    api_key: SecretRef | None = live(None, "API key, if the endpoint requires one.")
    insecure: Flag = live(False, "Allow sending documents and the key unencrypted over the network.")
    private: Flag = live(False, "People you trust run it, so agents with allow_cloud = false may use it.")

    @model_validator(mode="after")
    def _is_encrypted_on_its_way(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not is_this_machine(parts.hostname or "") and not self.insecure:
            raise refusal(
                "not_encrypted",
                "documents and key would cross the network unencrypted",
                key="base_url",
                hint="use https, or write insecure = true",
            )
        return self

    @property
    def is_local(self) -> bool:
        """True if documents stay on the operator's machines."""
        return self.private or is_this_machine(urlsplit(self.base_url).hostname or "")


class TranscriptionSettings(EndpointAccess):
    """``[transcription]``: endpoint that converts recordings to text (``/audio/transcriptions``)."""

    timeout_s: Seconds = live(300.0, "Seconds without data after which a request to the endpoint fails.")
    concurrency: Whole = live(
        2, "Concurrent requests, of all runs together; each holds a recording in memory."
    )
    price_minute_usd: Usd | None = live(None, "Price of a minute of recording, in US dollars.")


ChunkTokens = Annotated[int, Field(strict=True, ge=50, le=2**53)]  # with fewer, a question has no sentence


class ModelTuning(SettingsTable):
    """Settings of both kinds of models."""

    timeout_s: Seconds = live(60.0, "Seconds without data after which a request to the endpoint fails.")
    concurrency: Whole = live(8, "Concurrent requests, of all runs together.")
    chunk_tokens: ChunkTokens | None = live(
        None, "Tokens of text in one request; by default as it suits the kind of model."
    )


class OpenAIModelSettings(EndpointAccess, ModelTuning):
    """``[model] kind = "openai"``: an endpoint with the interface of OpenAI."""

    kind: Literal["openai"] = live(REQUIRED, "An endpoint with the interface of OpenAI.")
    rpm: Whole | None = live(
        None, "Allowed requests per minute, of all hubs on the database; by default as the endpoint reports."
    )
    tpm: Whole | None = live(None, "Allowed tokens per minute, of prompts and answers; by default likewise.")
    price_in_usd: Usd | None = live(None, "Price of a million prompt tokens, in US dollars.")
    price_out_usd: Usd | None = live(None, "Price of a million answer tokens, in US dollars.")

    @model_validator(mode="after")
    def _has_both_prices(self) -> Self:
        if (self.price_in_usd is None) != (self.price_out_usd is None):
            raise refusal(
                "half_a_price",
                "the price of questions and that of answers are given together",
                key="price_out_usd" if self.price_in_usd is None else "price_in_usd",
                hint="write both price_in_usd and price_out_usd",
            )
        return self

    @property
    def has_price(self) -> bool:
        """True if the prices of its tokens are known."""
        return self.price_in_usd is not None


class LocalModelSettings(ModelTuning):
    """``[model] kind = "local"``: the small model of the extra ``[local]``, served by the hub itself."""

    needs_restart: ClassVar = True  # its server is started with the hub

    kind: Literal["local"] = restart(REQUIRED, "The small model of the extra [local], on this machine.")
    timeout_s: Seconds = restart(
        300.0, "Seconds without output after which a request fails; one thread is slow."
    )
    concurrency: Whole = restart(1, "Concurrent requests.")
    chunk_tokens: ChunkTokens | None = restart(None, "Tokens of text in one request.")
    reads_prose: Flag = restart(
        False,
        "Ask it about sentences that no rule reads. Most of what it adds is wrong, so rules read alone.",
    )

    is_local: ClassVar[bool] = True
    has_price: ClassVar[bool] = True  # it is free


ModelSettings = Annotated[OpenAIModelSettings | LocalModelSettings, Field(discriminator="kind")]


IN_MEMORY = SQLITE


def _is_database(url: str) -> bool:
    return url == IN_MEMORY or url.startswith((f"{SQLITE}/", SERVER))


def _database_url(url: str) -> str:
    if not _is_database(url):
        hint = f'as in "sqlite:///hub.db" or "{SERVER}user@host/name"'
        raise refusal("database", "not the address of a database", hint=hint)
    if url == f"{SQLITE}/":
        raise refusal("database", "names no file", hint='as in "sqlite:///hub.db"')
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


class StorageSettings(SettingsTable):
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


class LogSettings(SettingsTable):
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


class OutboundSettings(SettingsTable):
    """``[outbound]``: where the hub itself may connect to, in addition to public addresses."""

    allow: tuple[HostOrNetwork, ...] = restart(
        (), 'Private hosts and networks that the hub may connect to, as in "10.0.0.0/8".'
    )


class PluginSettings(SettingsTable):
    """``[plugins]``: installed packages that are used; by default none."""

    connectors: tuple[Name, ...] = restart((), "Names of connector providers to load.")


Regex = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class RedactionSettings(SettingsTable):
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


class TrustSettings(SettingsTable):
    """``[trust]``: people who may write to the owners of this hub without a mark on their items."""

    senders: Annotated[tuple[Sender, ...], Field(max_length=1_000)] = live(
        (), "Known senders: addresses, and domains with all their addresses."
    )


def _receiver(url: str) -> str:
    parts = url_parts(url, "http", "https")
    if parts is None or parts.query or parts.fragment or "@" in url:
        raise refusal("otlp", "not the address of an OTLP receiver", hint='as in "http://localhost:4318"')
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        raise refusal("otlp", "other machines are called by https only", hint="run a collector here")
    return url


class TraceSettings(SettingsTable):
    """``[traces]``: where traces of runs go."""

    otlp: Annotated[str, AfterValidator(_receiver), shaped("^https?://", "http://localhost:4318")] | None = (
        restart(None, "OpenTelemetry receiver (OTLP/HTTP) for the spans of runs.")
    )


class ReloadSettings(SettingsTable):
    """``[reload]``: how an edit of hub.toml is applied."""

    watch: Flag = live(True, "Apply a valid edit automatically; otherwise run 'hub reload'.")


class HubSettings(SettingsTable):
    """``[hub]``: what people call this hub."""

    name: Name = restart("home", "Name of this hub.")


class Settings(SettingsTable):
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
    notify: NotifyTargets = live((), "Addresses that are notified of events.")
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
