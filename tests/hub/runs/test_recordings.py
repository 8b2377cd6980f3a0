"""A recording of a device is transcribed once, paid for as a question, and read as text."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from hub.base.clock import SystemClock
from hub.base.toml.limits import BudgetSettings
from hub.extraction.model import Models, Price
from hub.extraction.transcription import Transcriber
from hub.links.device_link import RunFrame
from protocol.lifecycles import RunOutcome, RunState, UnitState
from protocol.work import AgentComplete, AgentData, AgentManifest, FilePiece, ManifestFile
from storage.runs import model_calls
from storage.store import Store
from tests.support.clock import SeededChance
from tests.support.runs import Bench, declare_agent, digest, titles
from tests.support.speech import Transcriptions, recording

WAV = recording({1.5: "- [ ] call Anna", 9.0: "It rains."}, 12.0)  # the rules see a check box behind a time


@pytest.fixture
async def server() -> AsyncIterator[Transcriptions]:
    server = Transcriptions()
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def transcriber(server: Transcriptions) -> AsyncIterator[Transcriber]:
    opened = Transcriber(
        server.base_url,
        "whisper",
        "key",
        clock=SystemClock(),
        chance=SeededChance(),
        max_tries=1,
        price=Price(0, 100_000),
    )
    yield opened
    await opened.aclose()


async def bench_of(store: Store, transcriber: Transcriber | None, **fields: Any) -> Bench:
    given: dict[str, Any] = {"file_extensions": (".wav", "md")} | fields
    bench = Bench(store, await declare_agent(store, **given))
    bench.asking.use(
        Models(bench.model, bench.model, transcriber_anywhere=transcriber, transcriber_local=None)
    )
    return bench


def folder() -> list[RunFrame | Exception]:
    content = base64.b64encode(WAV).decode()
    half = len(content) // 2
    pieces = [
        FilePiece(
            path="memo.wav",
            content=part,
            encoding="base64",
            media_type="audio/wav",
            sha256=digest("a"),
            piece=number,
            pieces=2,
        )
        for number, part in enumerate((content[:half], content[half:]))
    ]
    listed = ManifestFile(path="memo.wav", size_bytes=len(WAV), sha256=digest("a"))
    return [
        AgentManifest(run_id="r", files=[listed]),
        *(AgentData(run_id="r", files=[piece]) for piece in pieces),
        AgentComplete(run_id="r"),
    ]


async def test_transcript_of_a_recording_is_sent_to_the_model_with_times(
    store: Store, server: Transcriptions, transcriber: Transcriber
) -> None:
    bench = await bench_of(store, transcriber)
    bench.model.said = (
        '{"items": [{"table": "tasks", "title": "call Anna", "quote": "[00:00:01] - [ ] call Anna"}]}'
    )
    link = bench.connect(runs=[folder()])
    run = await bench.run()

    assert (run.state, run.outcome, titles(link)) == (RunState.COMPLETED, RunOutcome.SUCCESS, ["call Anna"])
    assert link.calls[0].source is not None
    assert link.calls[0].source.quote == "[00:00:01] - [ ] call Anna"
    assert "[00:00:09] It rains." in bench.model.requests[0].messages[-1].content
    assert link.streams[0].run.reads.count("audio/wav") == 1
    spent = await store.read(model_calls.spent_by_run, run.id)
    assert spent.tokens == 12 + sum(bench.model.usage.prompt_tokens + 2 for _ in bench.model.requests)
    assert spent.cost_nanos == 12 * 100_000


async def test_recording_is_transcribed_once_although_the_run_is_tried_again(
    store: Store, server: Transcriptions, transcriber: Transcriber
) -> None:
    bench = await bench_of(store, transcriber)
    bench.model.said = "no JSON"  # the unit fails, and its questions are asked again by the next run
    bench.connect(runs=[folder(), folder()])
    first, second = await bench.run(), await bench.run()

    assert (first.outcome, second.outcome) == (RunOutcome.ERROR, RunOutcome.ERROR)
    assert bench.model.asked > 2
    assert server.calls == 1


async def test_a_recording_without_an_answer_fails_and_is_read_by_the_next_run(
    store: Store, server: Transcriptions, transcriber: Transcriber
) -> None:
    bench = await bench_of(store, transcriber)
    server.play("500")
    bench.connect(runs=[folder(), folder()])

    unit = (await bench.units((await bench.run()).id))["memo.wav"]
    assert (unit.state, bench.model.asked) == (UnitState.FAILED, 0)
    assert "whisper" in (unit.error or "")
    assert (await bench.units((await bench.run()).id))["memo.wav"].state is UnitState.DONE


async def test_recording_above_the_run_budget_is_not_sent_to_the_transcriber(
    store: Store, server: Transcriptions, transcriber: Transcriber
) -> None:
    bench = await bench_of(store, transcriber)
    bench.budgets.limits = BudgetSettings(run_usd=0.0001)
    bench.connect(runs=[folder()])

    unit = (await bench.units((await bench.run()).id))["memo.wav"]
    assert unit.state is UnitState.FAILED
    assert "budget.run_usd" in (unit.error or "")
    assert server.calls == 0


@pytest.mark.parametrize(
    ("fields", "has_transcriber"),
    [
        ({"file_extensions": ()}, True),
        ({"file_extensions": (".md",)}, True),
        ({"model_use": {"allow_cloud": False}}, True),
        ({}, False),
    ],
    ids=["all files", "other files", "no cloud", "no transcription"],
)
async def test_recordings_are_requested_only_if_configured_and_transcribable(
    store: Store, transcriber: Transcriber, fields: dict[str, object], has_transcriber: bool
) -> None:
    bench = await bench_of(store, transcriber if has_transcriber else None, **fields)
    link = bench.connect(runs=[[AgentManifest(run_id="r", files=[]), AgentComplete(run_id="r")]])
    await bench.run()
    assert "audio/wav" not in link.streams[0].run.reads
