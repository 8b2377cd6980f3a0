"""The model that reads documents: an endpoint's, this machine's, or none."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from hub.assembly.ground import Ground
from hub.extraction.embedded import CHUNK_TOKENS as EMBEDDED_CHUNK_TOKENS
from hub.extraction.embedded import MODEL_NAME, EmbeddedModel
from hub.extraction.model import LanguageModel
from hub.ops.model_settings import LocalModelSettings, OpenAIModelSettings
from hub.outbound import OutboundRules
from hub.supervisor import Supervisor

if TYPE_CHECKING:
    from hub.extraction.llm import OpenAIModel


async def open_model(
    ground: Ground, supervisor: Supervisor, resources: AsyncExitStack
) -> "OpenAIModel | None":
    """Open the model of the settings; ``None`` when there is none, and rules alone find items.

    Args:
        supervisor: gets the model's own server, if it has one.
        resources: closes the client after all services have ended.
    """
    settings = ground.settings.model
    if settings is None:
        return None
    # Only here: it brings openai, which takes a third of the daemon's start.
    from hub.extraction.llm import CHUNK_TOKENS, OpenAIModel

    match settings:
        case LocalModelSettings():
            # Its URL is known before its server runs, so what needs the model can be built now.
            embedded = EmbeddedModel(clock=ground.clock, chance=ground.chance)
            supervisor.add("model", embedded, turns=embedded.turns)
            base_url, name, api_key, insecure = embedded.base_url, MODEL_NAME, None, False
            chunk_tokens = settings.chunk_tokens or EMBEDDED_CHUNK_TOKENS
        case OpenAIModelSettings():
            base_url, name, insecure = settings.base_url, settings.name, settings.insecure
            api_key = None if settings.api_key is None else settings.api_key.resolve()
            chunk_tokens = settings.chunk_tokens or CHUNK_TOKENS
    model = OpenAIModel(
        base_url,
        name,
        api_key,
        clock=ground.clock,
        chance=ground.chance,
        metrics=ground.metrics,
        chunk_tokens=chunk_tokens,
        in_flight=settings.concurrency,
        is_literal=isinstance(settings, LocalModelSettings),
        read_timeout_s=settings.timeout_s,
        rules=OutboundRules.parse(ground.settings.outbound.allow),
        insecure=insecure,
    )
    return await resources.enter_async_context(model.opened())


def shown_model(ground: Ground, model: LanguageModel | None) -> str | None:
    """The model as an operator reads it."""
    if model is None:
        return None
    is_local = isinstance(ground.settings.model, LocalModelSettings)
    return f"{model.name} ({'on this machine' if is_local else 'openai'})"
