"""Rules in another process: their results, and what becomes of a text that breaks it."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import anyio.lowlevel
import pytest

from hub.document import Document
from hub.extraction import rules_process
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import ExtractionError, Models
from hub.extraction.rules_process import RulesProcess
from protocol.errors import ErrorCode
from protocol.tables import TABLES
from tests.fuzz.doubling import READERS, SHAPES
from tests.support.coded import coded

pytestmark = pytest.mark.anyio

OPTIONS = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")


@pytest.fixture(scope="module")
def rules() -> Iterator[RulesProcess]:
    process = RulesProcess()
    yield process
    process.close()


def document(text: str, path: str = "a.txt", media_type: str | None = None) -> Document:
    return Document(
        unit_key=path,
        text=text,
        content_hash="0" * 64,
        modified_at=datetime(2026, 5, 6, 12, tzinfo=UTC),
        media_type=media_type,
    )


async def test_extraction_in_the_rules_process_equals_extraction_in_process(rules: RulesProcess) -> None:
    here, there = Extractor(Models(), secret=bytes(32)), Extractor(Models(), secret=bytes(32), rules=rules)
    shapes = [*SHAPES.values()]
    differing: list[str] = []
    for nth, (name, reader) in enumerate(READERS.items()):  # each with some of the shapes, all in turn
        for shape in (SHAPES["events"], SHAPES["dated lines"], *shapes[nth :: len(READERS)]):
            one = document(f"{reader.head}{shape(60)}{reader.tail}", reader.path, reader.media_type)
            if await here.extract(one, OPTIONS) != await there.extract(one, OPTIONS):
                differing.append(name)
    assert differing == []


async def test_text_is_extracted_after_a_kill_of_the_rules_process(rules: RulesProcess) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    text = document("Anna must send the quote by Friday.")
    before = await extractor.extract(text, OPTIONS)
    os.kill(pid_of(rules), signal.SIGKILL)
    assert await extractor.extract(text, OPTIONS) == before


async def test_answer_with_invalid_text_ends_a_compromised_rules_process(
    rules: RulesProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    read = rules_process._read
    with monkeypatch.context() as taken_over:
        taken_over.setattr(
            rules_process, "_read", lambda pipe, count: read(pipe, count).replace(b"Anna", b"\xff" * 4)
        )
        with pytest.raises(ExtractionError):
            await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    found = await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    assert len(found.items) == 1


async def test_rules_time_limit_fails_only_the_slow_text(
    rules: RulesProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    with monkeypatch.context() as shorter:
        shorter.setattr(rules_process, "_FREE_S", 0.0)
        shorter.setattr(rules_process, "_START_S", 1.0)
        shorter.setattr(rules_process, "_CHARS_PER_S", 10**9)
        message = "did not read its 300,000 characters within 0 s"
        with pytest.raises(ExtractionError, match=message, check=coded(ErrorCode.LIMIT_REACHED)):
            await extractor.extract(document(SHAPES["dated lines"](300_000)[:300_000]), OPTIONS)
    found = await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    assert len(found.items) == 1


async def test_a_process_without_work_is_ended(rules: RulesProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    await Extractor(Models(), secret=bytes(32), rules=rules).extract(document("Call Bob."), OPTIONS)
    pid = pid_of(rules)
    monkeypatch.setattr(rules_process, "IDLE_S", 0.0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(rules.serve)
        while rules.process is not None:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def pid_of(rules: RulesProcess) -> int:
    assert rules.process is not None
    return rules.process.pid
