"""Recordings become text by an endpoint, with the time of each sentence."""

import io
from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from hub.base.metrics import Metrics
from hub.document import Document
from hub.extraction.model import ModelAnswer, ModelExhausted, ModelRefused, ModelUnavailable, Price
from hub.extraction.transcription import Transcriber, recording_of
from tests.hub.extraction.conftest import HastyClock
from tests.support.clock import SeededChance
from tests.support.speech import Transcriptions, recording

SAID = {1.0: "Anna must send the plan by Friday.", 83.5: "And then", 84.5: "call Bob."}
TEXT = "[00:00:01] Anna must send the plan by Friday.\n[00:01:23] And then call Bob.\n"


@pytest.fixture
async def server() -> AsyncIterator[Transcriptions]:
    server = Transcriptions()
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve)
        yield server
        tasks.cancel_scope.cancel()


def transcriber(server: Transcriptions) -> Transcriber:
    return Transcriber(
        server.base_url,
        "whisper-1",
        "key",
        clock=HastyClock(),
        chance=SeededChance(),
        metrics=Metrics(),
        in_flight=2,
        max_tries=3,
        price=Price(0, 100_000),
        table="[transcription]",
    )


def note(data: bytes | None = None, name: str = "memo.wav") -> Document:
    content = io.BytesIO(recording(SAID, 90.0) if data is None else data)
    return Document(unit_key=name, text="", content_hash="a" * 64, recording=content)


async def transcribe(server: Transcriptions, document: Document | None = None) -> ModelAnswer:
    async with aclosing(transcriber(server)) as endpoint:
        return await endpoint.answer(recording_of(document or note()))


async def test_transcript_has_a_timed_line_for_each_sentence(server: Transcriptions) -> None:
    answer = await transcribe(server)
    assert answer.text == TEXT
    assert server.forms == [{"model": "whisper-1", "response_format": "verbose_json"}]
    assert server.names == ["recording.wav"]
    assert (answer.usage.requests, answer.usage.completion_tokens) == (1, 90)
    assert answer.usage.cost_nanos == 90 * 100_000


async def test_a_model_without_times_is_asked_for_the_text_alone(server: Transcriptions) -> None:
    server.refuses_times = True
    async with aclosing(transcriber(server)) as endpoint:
        answers = [await endpoint.answer(recording_of(note(name="memo.opus"))) for _ in range(2)]
    assert [answer.text for answer in answers] == [
        "Anna must send the plan by Friday. And then call Bob.\n"
    ] * 2
    assert [form["response_format"] for form in server.forms] == ["verbose_json", "json", "json"]
    assert server.names[0] == "recording.ogg", "the endpoint knows the format by this name"


@pytest.mark.parametrize("faults", [("429", "429", "429", "429"), ("500", "empty")])
async def test_transcription_is_retried_after_an_endpoint_fault(
    server: Transcriptions, faults: tuple[str, ...]
) -> None:
    server.play(*faults)
    answer = await transcribe(server)
    assert answer.text == TEXT
    assert answer.usage.requests == server.calls == len(faults) + 1


async def test_never_answering_endpoint_is_unavailable(server: Transcriptions) -> None:
    server.play("500", "empty", "500")
    with pytest.raises(ModelUnavailable, match=r"whisper-1 at .* gave no answer in 3 tries") as refusal:
        await transcribe(server)
    assert refusal.value.spent.requests == 3


async def test_transcription_is_not_retried_after_exhausted_quota_or_wrong_key(
    server: Transcriptions,
) -> None:
    server.play("quota", "401")
    with pytest.raises(ModelExhausted, match="has no quota left"):
        await transcribe(server)
    with pytest.raises(ModelRefused, match=r"correct api_key in \[transcription\] of hub.toml"):
        await transcribe(server)
    assert server.calls == 2


async def test_damaged_recording_is_refused_and_the_next_recording_is_read(server: Transcriptions) -> None:
    async with aclosing(transcriber(server)) as endpoint:
        with pytest.raises(ModelRefused, match=r"refused the recording .* it may be damaged"):
            await endpoint.answer(recording_of(note(b"RIFF")))
        assert (await endpoint.answer(recording_of(note()))).text == TEXT
    assert [form["response_format"] for form in server.forms] == ["verbose_json", "json", "verbose_json"]


async def test_transcript_of_silence_is_empty(server: Transcriptions) -> None:
    answer = await transcribe(server, note(recording({}, 2.0)))
    assert answer.text == ""
