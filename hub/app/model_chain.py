"""Models in use: order of endpoints, exchange by new settings, prices, and each node's rate share.

A node's share is what it has to ask, half a question if nothing, of what all nodes have to ask.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NamedTuple, Protocol

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.base.periodic_loop import PeriodicLoop
from hub.base.supervisor import Supervisor
from hub.base.toml.positions import KeyPath
from hub.base.toml.values import SecretMissing, SecretRef
from hub.extraction.batch import BatchClient
from hub.extraction.circuit_breaker import Breaker
from hub.extraction.endpoint import CHUNK_TOKENS, MAX_TRIES, Chain, Endpoint
from hub.extraction.model import Models, Price
from hub.extraction.transcription import Transcriber
from hub.health.external import Reach
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import (
    EndpointAccess,
    LocalModelSettings,
    ModelSettings,
    OpenAIModelSettings,
    Settings,
    TranscriptionSettings,
)
from protocol.ids import BootId
from storage.devices import nodes
from storage.store import Store


class LocalModelServer(Protocol):
    """Server of the local model; ``hub.extraction.local_model`` is imported where the settings have one."""

    base_url: str

    async def ready(self) -> None:
        """Wait until the server answers."""


SHARED_EVERY_S: Final = 5.0
MIN_DEMAND: Final = 0.5  # in questions, of a hub that asks none
TRIES_BEFORE_ANOTHER = 3  # of a question that another endpoint can answer, instead of waiting half a minute


class ModelContext(Protocol):
    """Dependencies of models: the context of a hub, or less."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def chance(self) -> Chance: ...
    @property
    def metrics(self) -> Metrics: ...


class OpenModels(NamedTuple):
    """Models of the settings, ready for use.

    Attributes:
        endpoints: endpoints in the order in which they are asked; empty: only rules extract items.
        transcriber: endpoint for recordings; None: they are not read.
        clients: closes the connections to the endpoints.
    """

    models: Models
    endpoints: tuple[Endpoint, ...]
    transcriber: Transcriber | None
    clients: AsyncExitStack

    @property
    def all_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints and the transcriber."""
        return self.endpoints if self.transcriber is None else (*self.endpoints, self.transcriber)


def open_models(
    context: ModelContext, settings: Settings, *, embedded: LocalModelServer | None
) -> OpenModels:
    """Open the models of *settings*.

    Args:
        embedded: server of the local model, if *settings* have one.

    Raises:
        SecretMissing: the key of an endpoint does not exist.
    """
    clients = AsyncExitStack()
    transcriber = _open_transcriber(context, settings.transcription)
    if transcriber is not None:
        clients.push_async_callback(transcriber.aclose)
    models = Models(
        transcriber_anywhere=transcriber,
        transcriber_local=transcriber if transcriber is not None and transcriber.is_local else None,
    )
    chosen = in_order(settings)
    if not chosen:
        return OpenModels(models, (), transcriber, clients)
    endpoints: list[Endpoint] = []
    for number, one in enumerate(chosen):
        is_last = number == len(chosen) - 1
        table = "[[fallback_models]]" if number else "[model]"
        endpoint = _open(context, embedded, one, table=table, is_last=is_last)
        clients.push_async_callback(endpoint.aclose)
        endpoints.append(endpoint)
    local = [endpoint for endpoint in endpoints if endpoint.is_local]

    def batches(chain: Sequence[Endpoint]) -> BatchClient | None:
        """Open the batch client of the chain's first endpoint; the local model has none."""
        if not chain or chain[0].is_literal:
            return None
        client = BatchClient(chain[0], clock=context.clock)
        clients.push_async_callback(client.aclose)
        return client

    models = msgspec.structs.replace(
        models,
        anywhere=Chain(endpoints),
        local=Chain(local) if local else None,
        batches_anywhere=batches(endpoints),
        batches_local=batches(local),
    )
    return OpenModels(models, tuple(endpoints), transcriber, clients)


def asks_small_model(settings: Settings) -> bool:
    """Return True if the small local model reads prose that no rule reads."""
    return any(isinstance(table, LocalModelSettings) and table.reads_prose for table in in_order(settings))


def open_embedded(context: ModelContext, supervisor: Supervisor) -> LocalModelServer | None:
    """Create the server of the local model, if the settings have one; *supervisor* runs it."""
    if not any(isinstance(table, LocalModelSettings) for table in in_order(context.settings)):
        return None
    from hub.extraction.local_model import EmbeddedModel

    # Its URL is known before its server runs, so that its users can be created now.
    embedded = EmbeddedModel(clock=context.clock, chance=context.chance)
    supervisor.add("model", embedded, loop=embedded.loop)
    return embedded


class ModelsInUse:
    """Models of the settings in use, which a reload replaces. Service that closes replaced ones.

    A run that has begun keeps its models, so they are closed after its end.

    Attributes:
        settings: the settings of these models.
        opened: the models that the next run uses.
        breakers, reach: circuit breakers and probes of their endpoints, by name; for the checks of the hub.
    """

    def __init__(self, context: ModelContext, supervisor: Supervisor) -> None:
        self.loop = PeriodicLoop(context.clock)
        self._context = context
        self._embedded = open_embedded(context, supervisor)
        self.settings = context.settings
        self._users: list[Callable[[Models], None]] = []
        self._is_used: Callable[[Models], bool] = lambda models: False
        self._replaced: list[OpenModels] = []
        self.breakers: dict[str, Breaker] = {}
        self.reach: dict[str, Reach] = {}
        self.opened = open_models(context, context.settings, embedded=self._embedded)
        self._show()

    def serve_to(self, *users: Callable[[Models], None], is_used: Callable[[Models], bool]) -> None:
        """Call *users* with the models that replace others; *is_used*: a run still works with models."""
        self._users, self._is_used = list(users), is_used

    def prepare(self, settings: Settings) -> Commit:
        """Open the models of *settings*, unless they are in use.

        Raises:
            Unfit: the key of an endpoint does not exist.
        """
        if self._embedded is not None or any(table.needs_restart for table in in_order(settings)):
            return lambda: None  # the server of the local model is started with the hub
        is_same = _all_tables(settings) == _all_tables(self.settings)
        if is_same and not self.renewed(settings):
            return lambda: None
        try:
            opened = open_models(self._context, settings, embedded=None)
        except SecretMissing as error:
            raise Unfit(_place_of_missing_key(settings), str(error)) from error
        return partial(self._use, settings, opened)

    def renewed(self, settings: Settings) -> list[str]:
        """Return the key whose unchanged reference resolves to another value than the one in use."""
        if _all_tables(settings) != _all_tables(self.settings):
            return []
        pairs = zip(_all_tables(settings), self.opened.all_endpoints, strict=True)
        new = [table for table, endpoint in pairs if _key(table) != endpoint.api_key]
        return [
            "transcription.api_key" if isinstance(table, TranscriptionSettings) else "model.api_key"
            for table in new[:1]
        ]

    def named(self, name: str) -> Models | None:
        """Return the model of this name alone, or None if the settings have no such model."""
        for endpoint in self.opened.endpoints:
            if endpoint.name == name:
                chain = Chain([endpoint])
                return Models(anywhere=chain, local=chain if endpoint.is_local else None)
        return None

    def try_now(self) -> None:
        """Retry at once all endpoints that wait after failures, on a person's request."""
        for endpoint in self.opened.all_endpoints:
            endpoint.breaker.try_now()

    def released(self) -> None:
        """Close the replaced models that no run uses any more. Returns at once."""
        self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Close replaced models until cancelled."""
        task_status.started()
        await self.loop.serve(self._close_unused, of="replaced models", every_s=math.inf)

    async def _close_unused(self) -> None:
        for old in [opened for opened in self._replaced if not self._is_used(opened.models)]:
            self._replaced.remove(old)
            await old.clients.aclose()

    async def close(self) -> None:
        """Close all models, after all services have ended."""
        for opened in (*self._replaced, self.opened):
            await opened.clients.aclose()

    def _use(self, settings: Settings, opened: OpenModels) -> None:
        self._replaced.append(self.opened)
        self.settings, self.opened = settings, opened
        self._show()
        for use in self._users:
            use(opened.models)
        self.released()

    def _show(self) -> None:
        self.breakers.clear()
        self.breakers |= {str(endpoint.place): endpoint.breaker for endpoint in self.opened.all_endpoints}
        self.reach.clear()
        self.reach |= {str(endpoint.place): endpoint.reach for endpoint in self.opened.all_endpoints}


class ModelShares:
    """Service that shares the limits of models with the other hubs on the database, by demand.

    A hub that asks nothing keeps a small share, to begin with. As demands are some seconds old, all hubs
    together may pass a limit for so long.
    """

    def __init__(self, store: Store, models: ModelsInUse, *, boot_id: BootId, clock: Clock) -> None:
        self.loop = PeriodicLoop(clock)
        self._store = store
        self._models = models
        self._boot_id = boot_id
        self._clock = clock

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Share until cancelled."""
        task_status.started()
        if self._store.is_shared:
            await self.loop.serve(self._share, of="shares of models", every_s=SHARED_EVERY_S)
        self.loop.wait()
        await anyio.sleep_forever()

    async def _share(self) -> None:
        limited = [
            endpoint.limiter for endpoint in self._models.opened.endpoints if endpoint.limiter.has_limits
        ]
        if not limited:
            return
        mine = sum(limiter.demand for limiter in limited)
        others = await self._store.write(nodes.share_demand, self._boot_id, mine)
        demands = [max(demand, MIN_DEMAND) for demand in (mine, *others)]
        for limiter in limited:
            limiter.use_share(demands[0] / sum(demands))


def _place_of_missing_key(settings: Settings) -> KeyPath:
    """Return the place of the first key that does not exist."""
    for number, table in enumerate(in_order(settings)):
        try:
            _key(table)
        except SecretMissing:
            return ("fallback_models", number - 1, "api_key") if number else ("model", "api_key")
    return ("transcription", "api_key")


def _key(settings: ModelSettings | TranscriptionSettings) -> str | None:
    match settings:
        case EndpointAccess(api_key=SecretRef() as reference):
            return reference.resolve()
        case _:
            return None


def _open(
    context: ModelContext,
    embedded: LocalModelServer | None,
    settings: ModelSettings,
    *,
    table: str,
    is_last: bool,
) -> Endpoint:
    match settings:
        case LocalModelSettings():
            from hub.extraction.local_model import CHUNK_TOKENS as EMBEDDED_CHUNK_TOKENS
            from hub.extraction.local_model import MODEL_NAME

            assert embedded is not None
            return Endpoint(
                embedded.base_url,
                MODEL_NAME,
                None,
                clock=context.clock,
                chance=context.chance,
                metrics=context.metrics,
                chunk_tokens=settings.chunk_tokens or EMBEDDED_CHUNK_TOKENS,
                in_flight=settings.concurrency,
                is_literal=True,
                is_local=True,
                read_timeout_s=settings.timeout_s,
                prepare=embedded.ready,
            )
        case OpenAIModelSettings():
            return Endpoint(
                settings.base_url,
                settings.name,
                _key(settings),
                clock=context.clock,
                chance=context.chance,
                metrics=context.metrics,
                chunk_tokens=settings.chunk_tokens or CHUNK_TOKENS,
                in_flight=settings.concurrency,
                is_local=settings.is_local,
                read_timeout_s=settings.timeout_s,
                max_tries=MAX_TRIES if is_last else TRIES_BEFORE_ANOTHER,
                requests_per_min=settings.rpm,
                tokens_per_min=settings.tpm,
                rules=OutboundRules.parse(context.settings.outbound.allow),
                insecure=settings.insecure,
                price=price_of(settings),
                table=table,
            )


def _open_transcriber(context: ModelContext, settings: TranscriptionSettings | None) -> Transcriber | None:
    if settings is None:
        return None
    # Costs are counted by the second, as tokens of the answer.
    price = Price(0, round((settings.price_minute_usd or 0.0) * 1e9 / 60))
    return Transcriber(
        settings.base_url,
        settings.name,
        _key(settings),
        clock=context.clock,
        chance=context.chance,
        metrics=context.metrics,
        in_flight=settings.concurrency,
        is_local=settings.is_local,
        read_timeout_s=settings.timeout_s,
        rules=OutboundRules.parse(context.settings.outbound.allow),
        insecure=settings.insecure,
        price=price,
        table="[transcription]",
    )


def _all_tables(settings: Settings) -> tuple[ModelSettings | TranscriptionSettings, ...]:
    speech = settings.transcription
    return in_order(settings) if speech is None else (*in_order(settings), speech)


def in_order(settings: Settings) -> tuple[ModelSettings, ...]:
    """Return every model of the settings, in the order in which they are asked."""
    first, others = settings.model, settings.fallback_models
    return () if first is None else (first, *others)


def price_of(settings: OpenAIModelSettings) -> Price:
    """Convert US dollars per million tokens to nanodollars per token, a factor of 1,000."""
    return Price(
        round((settings.price_in_usd or 0.0) * 1_000), round((settings.price_out_usd or 0.0) * 1_000)
    )


def shown_model(settings: Settings) -> str | None:
    """Describe the models for an operator: ``gpt-5-mini (openai), then other-model (openai, private)``."""
    return ", then ".join(map(_shown, in_order(settings))) or None


def _shown(settings: ModelSettings) -> str:
    match settings:
        case LocalModelSettings():
            from hub.extraction.local_model import MODEL_NAME

            return f"{MODEL_NAME} (on this machine)"
        case OpenAIModelSettings():
            return f"{settings.name} (openai{', private' if settings.private else ''})"
