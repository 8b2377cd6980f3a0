"""The models of the settings: who may be asked, by whom, and in which order."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from hub.app.model_chain import (
    SHARED_EVERY_S,
    ModelShares,
    ModelsInUse,
    OpenModels,
    open_embedded,
    open_models,
    shown_model,
)
from hub.base.supervisor import Supervisor
from hub.extraction.endpoint import Chain
from hub.extraction.model import LanguageModel, Models, Price
from hub.extraction.rate_limiter import Limiter
from protocol.ids import BootId, NodeId
from storage import leases
from storage.devices import nodes
from storage.store import open_store
from tests.hub.app.test_settings_application import grounded
from tests.support.clock import FakeClock
from tests.support.postgres import Postgres

AT = 1_767_600_000_000

CLOUD = """
[model]
kind = "openai"
base_url = "https://models.example/v1"
name = "cloud"
price_in_usd = 0.25
price_out_usd = 2.0
"""
PRIVATE = """
[[fallback_models]]
kind = "openai"
base_url = "https://inside.example/v1"
name = "ours"
private = true
"""
LOOPBACK = """
[[fallback_models]]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
name = "here"
"""


LIMITED = f"{CLOUD}rpm = 600\n"


async def opened(folder: Path, text: str) -> tuple[OpenModels, str | None]:
    """The models of a hub with the settings *text*, and how an operator reads them."""
    async with grounded(folder, text) as context:
        embedded = open_embedded(context, Supervisor(clock=context.clock, chance=context.chance))
        opened = open_models(context, context.settings, embedded=embedded)
        async with opened.clients:
            return opened, shown_model(context.settings)


def names(model: LanguageModel | None) -> list[str]:
    assert isinstance(model, Chain)
    return [endpoint.name for endpoint in model.endpoints]


async def test_without_a_model_no_request_is_made(tmp_path: Path) -> None:
    (models, endpoints, *_), shown = await opened(tmp_path, "# defaults\n")
    assert (models, endpoints, shown) == (Models(), (), None)


async def test_agents_without_cloud_use_have_no_model_beside_a_cloud_model(tmp_path: Path) -> None:
    (models, *_), shown = await opened(tmp_path, CLOUD)
    assert models.anywhere is not None and models.anywhere.price == Price(250, 2_000)
    assert models.choose_batches(allow_cloud=True) is not None
    assert models.choose(allow_cloud=False) is None
    assert models.choose_batches(allow_cloud=False) is None
    assert shown == "cloud (openai)"


async def test_agents_barred_from_the_cloud_ask_the_private_models_in_order(
    tmp_path: Path,
) -> None:
    (models, endpoints, *_), shown = await opened(tmp_path, CLOUD + PRIVATE + LOOPBACK)
    assert names(models.choose(allow_cloud=True)) == ["cloud", "ours", "here"]
    assert names(models.choose(allow_cloud=False)) == ["ours", "here"]
    assert [endpoint.place.table for endpoint in endpoints] == ["[model]", *["[[fallback_models]]"] * 2]
    assert shown == "cloud (openai), then ours (openai, private), then here (openai)"


async def test_recordings_of_agents_barred_from_the_cloud_require_a_private_transcription(
    tmp_path: Path,
) -> None:
    for private, has_local in ((False, False), (True, True)):
        table = f"""[transcription]
base_url = "https://speech.example/v1"
name = "whisper"
private = {str(private).lower()}
price_minute_usd = 0.006
"""
        (models, *_), _ = await opened(tmp_path, table)
        speech = models.choose_transcriber(allow_cloud=True)
        assert speech is not None and speech.price == Price(0, 100_000)
        assert (models.choose_transcriber(allow_cloud=False) is not None) == has_local
        assert models.choose(allow_cloud=True) is None, "rules read what is said"


async def test_local_model_serves_all_agents_without_batches(tmp_path: Path) -> None:
    (models, *_), shown = await opened(tmp_path, '[model]\nkind = "local"\n')
    assert models.local is not None and models.local.is_literal
    assert models.batches_anywhere is models.batches_local is None
    assert shown == "smollm2-135m-instruct (on this machine)"


async def test_hubs_on_a_shared_database_share_the_limits_of_a_model_by_demand(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        async with grounded(tmp_path, LIMITED) as context, open_store(url) as store:
            clock = FakeClock()
            hubs: dict[BootId, tuple[Limiter, ModelShares]] = {}
            for boot in (BootId("east"), BootId("west")):
                await store.write(nodes.begin_boot, NodeId(boot), boot, AT)
                await store.write(leases.beat, NodeId(boot), boot, ttl_ms=60_000)
                models = ModelsInUse(context, Supervisor(clock=context.clock, chance=context.chance))
                (endpoint,) = models.opened.endpoints
                shares = ModelShares(store, models, boot_id=boot, clock=clock)
                hubs[boot] = endpoint.limiter, shares
            async with AsyncExitStack() as asking, anyio.create_task_group() as tasks:
                for (limiter, shares), questions in zip(hubs.values(), (3, 1), strict=True):
                    for _ in range(questions):
                        await asking.enter_async_context(limiter.turn("anna", 1.0))
                    await tasks.start(shares.serve)
                await clock.pass_time(2 * SHARED_EVERY_S)
                assert [limiter.share for limiter, _ in hubs.values()] == [0.75, 0.25]
                await store.write(nodes.end_boot, NodeId("east"), BootId("east"), AT)
                await clock.pass_time(SHARED_EVERY_S)
                assert hubs[BootId("west")][0].share == 1.0
                tasks.cancel_scope.cancel()
