"""Models that read documents: a chain of endpoints, the model on this machine, or none."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hub.app.supervisor import Supervisor
from hub.clock import Chance, Clock
from hub.extraction.embedded import CHUNK_TOKENS as EMBEDDED_CHUNK_TOKENS
from hub.extraction.embedded import MODEL_NAME, EmbeddedModel
from hub.extraction.model import Models, Price
from hub.metrics import Metrics
from hub.outbound import OutboundRules
from hub.settings.model_settings import LocalModelSettings, ModelSettings, OpenAIModelSettings
from hub.settings.settings import Settings

if TYPE_CHECKING:
    from hub.extraction.endpoint import Endpoint

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
    """

    models: Models
    endpoints: tuple["Endpoint", ...] = ()

    def try_now(self) -> None:
        """Retry at once all endpoints that wait after failures, on a person's request."""
        for endpoint in self.endpoints:
            endpoint.breaker.try_now()


async def open_models(context: ModelContext, supervisor: Supervisor, resources: AsyncExitStack) -> OpenModels:
    """Open the models of the settings.

    Args:
        supervisor: runs the server of the local model, if configured.
        resources: closes the clients after all services have ended.
    """
    settings = in_order(context.settings)
    if not settings:
        return OpenModels(Models())
    # Imported here, because openai takes a third of the daemon's start time.
    from hub.extraction.batch import BatchClient
    from hub.extraction.chain import Chain

    endpoints: list[Endpoint] = []
    for number, one in enumerate(settings):
        is_last = number == len(settings) - 1
        table = "[[fallback_models]]" if number else "[model]"
        endpoint = _open(context, supervisor, one, table=table, is_last=is_last)
        endpoints.append(await resources.enter_async_context(endpoint.opened()))
    local = [endpoint for endpoint in endpoints if endpoint.is_local]

    async def batches(chain: Sequence["Endpoint"]) -> BatchClient | None:
        """Open the batch client of the chain's first endpoint; the local model has none."""
        if not chain or chain[0].is_literal:
            return None
        return await resources.enter_async_context(BatchClient(chain[0], clock=context.clock).opened())

    models = Models(
        anywhere=Chain(endpoints),
        local=Chain(local) if local else None,
        batches_anywhere=await batches(endpoints),
        batches_local=await batches(local),
    )
    return OpenModels(models, tuple(endpoints))


def _open(
    context: ModelContext, supervisor: Supervisor, settings: ModelSettings, *, table: str, is_last: bool
) -> "Endpoint":
    from hub.extraction.endpoint import CHUNK_TOKENS, MAX_TRIES, Endpoint

    match settings:
        case LocalModelSettings():
            # Its URL is known before its server runs, so that its users can be created now.
            embedded = EmbeddedModel(clock=context.clock, chance=context.chance)
            supervisor.add("model", embedded, turns=embedded.turns)
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
            )
        case OpenAIModelSettings():
            return Endpoint(
                settings.base_url,
                settings.name,
                None if settings.api_key is None else settings.api_key.resolve(),
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
                price=_price(settings),
                table=table,
            )


def in_order(settings: Settings) -> tuple[ModelSettings, ...]:
    """Return every model of the settings, in the order in which they are asked."""
    return () if settings.model is None else (settings.model, *settings.fallback_models)


def _price(settings: OpenAIModelSettings) -> Price:
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
            return f"{MODEL_NAME} (on this machine)"
        case OpenAIModelSettings():
            return f"{settings.name} (openai{', private' if settings.private else ''})"
