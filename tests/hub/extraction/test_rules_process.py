"""Rules in another process: their results, and what becomes of a text that breaks it."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import anyio.lowlevel
import msgspec
import pytest

from hub.document import Document
from hub.extraction import rules_process, structured
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import ExtractionError, Models
from hub.extraction.ruled import ToExtract
from hub.extraction.rules_process import RulesProcesses
from hub.text.files import CALENDAR, MAIL
from protocol.errors import ErrorCode
from protocol.tables import TABLES
from tests.fuzz.doubling import READERS, SHAPES
from tests.support.coded import coded
from tests.support.families import each

pytestmark = pytest.mark.anyio

OPTIONS = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
PATIENCE_S = 30.0
LARGE = "The house is old. " * 3_000
INVITATION = (
    "From: ana@example.org\nSubject: Dinner\n\nCome to us.\n\n[attachment: invite.ics, text/calendar]\n\n"
    "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Dinner\nDTSTART:20260520T190000Z\nEND:VEVENT\nEND:VCALENDAR\n"
)
TEXTS = [f"Anna must send quote {number} by Friday." for number in range(5)]


@pytest.fixture(scope="module")
def rules() -> Iterator[RulesProcesses]:
    process = RulesProcesses()
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


async def test_extraction_in_the_rules_process_equals_extraction_in_process(rules: RulesProcesses) -> None:
    here, there = Extractor(Models(), secret=bytes(32)), Extractor(Models(), secret=bytes(32), rules=rules)
    shapes = [*SHAPES.values()]
    differing: list[str] = []
    for nth, (name, reader) in enumerate(READERS.items()):  # each with some of the shapes, all in turn
        for shape in (SHAPES["events"], SHAPES["dated lines"], *shapes[nth :: len(READERS)]):
            one = document(f"{reader.head}{shape(60)}{reader.tail}", reader.path, reader.media_type)
            if await here.extract(one, OPTIONS) != await there.extract(one, OPTIONS):
                differing.append(name)
    assert differing == []


@pytest.mark.parametrize("charset", ["koi8-r", "x-unknown"])
async def test_calendar_in_another_charset_is_read_in_the_rules_process(
    rules: RulesProcesses, charset: str
) -> None:
    here, there = Extractor(Models(), secret=bytes(32)), Extractor(Models(), secret=bytes(32), rules=rules)
    calendar = document(
        "BEGIN:VCALENDAR\nVERSION:1.0\nBEGIN:VEVENT\nDTSTART:20260520T190000Z\n"
        f"SUMMARY;ENCODING=QUOTED-PRINTABLE;CHARSET={charset}:=F7=D3=D4=D2=C5=DE=C1\n"
        "END:VEVENT\nEND:VCALENDAR\n",
        "a.ics",
    )
    found = await there.extract(calendar, OPTIONS)
    assert [item.data["title"] for item in found.items] == ["Встреча"]
    assert found == await here.extract(calendar, OPTIONS)


async def test_text_is_extracted_after_a_kill_of_the_rules_process(rules: RulesProcesses) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    text = document("Anna must send the quote by Friday.")
    before = await extractor.extract(text, OPTIONS)
    os.kill(pid_of(rules), signal.SIGKILL)
    assert await extractor.extract(text, OPTIONS) == before


async def test_answer_with_invalid_text_ends_a_compromised_rules_process(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    read = rules_process._read
    with monkeypatch.context() as taken_over:
        taken_over.setattr(rules_process, "_read", lambda pipe: read(pipe).replace(b"Anna", b"\xff" * 4))
        with pytest.raises(ExtractionError):
            await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    found = await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    assert len(found.items) == 1


async def test_rules_time_limit_fails_only_the_slow_text(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    with monkeypatch.context() as shorter:
        shorter.setattr(rules_process, "_FREE_S", 0.0)
        shorter.setattr(rules_process, "_START_S", 0.0)
        shorter.setattr(rules_process, "_CHARS_PER_S", 10**9)
        message = "did not read its 1,000,000 characters within 0 s"
        with pytest.raises(ExtractionError, match=message, check=coded(ErrorCode.LIMIT_REACHED)):
            await extractor.extract(document(SHAPES["dated lines"](1_000_000)[:1_000_000]), OPTIONS)
    found = await extractor.extract(document("Anna must send the quote by Friday."), OPTIONS)
    assert len(found.items) == 1


async def test_a_process_without_work_is_ended(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Extractor(Models(), secret=bytes(32), rules=rules).extract(document("Call Bob."), OPTIONS)
    pid = pid_of(rules)
    monkeypatch.setattr(rules_process, "IDLE_S", 0.0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(rules.serve)
        while rules.processes:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@each(
    "path",
    [*(f"a{suffix}" for suffix in structured._BY_SUFFIX), "A.ICS", "b.md\\a.ical", "a.ics/", "a.ics/."],
)
def test_document_with_the_name_of_a_calendar_needs_calendars(path: str) -> None:
    assert needs_calendars(document("a", path)) == ("ic" in path.lower())


@pytest.mark.parametrize("media_type", [*structured._BY_MEDIA_TYPE, " Text/Calendar ; charset=utf-8"])
def test_document_with_the_type_of_a_calendar_needs_calendars(media_type: str) -> None:
    assert needs_calendars(document("a", "a", media_type)) == ("calendar" in media_type.lower())


@pytest.mark.slow
async def test_rules_process_without_calendars_is_replaced_for_an_enclosed_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules, broken = RulesProcesses(), list[Exception]()
    monkeypatch.setattr(rules, "on_broken", lambda process, error: broken.append(error))
    try:
        extractor = Extractor(Models(), secret=bytes(32), rules=rules)
        await extractor.extract(document("Call Bob."), OPTIONS)
        before = pid_of(rules)
        with anyio.fail_after(PATIENCE_S):
            found = await extractor.extract(document(INVITATION, "a.eml", MAIL), OPTIONS)
        assert [item.data["title"] for item in found.items] == ["Dinner"]
        assert broken == []
        after = pid_of(rules)
        await extractor.extract(document("Call Bob."), OPTIONS)
        assert pid_of(rules) == after != before
    finally:
        rules.close()


@pytest.mark.parametrize(
    "name", ["../UTC", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Mars/Olympus", "Europe"))]
)
async def test_unknown_time_zone_fails_only_the_text_with_the_zone(name: str) -> None:
    rules = RulesProcesses()
    try:
        extractor = Extractor(Models(), secret=bytes(32), rules=rules)
        with pytest.raises(ExtractionError):
            await extractor.extract(document(TEXTS[0]), msgspec.structs.replace(OPTIONS, timezone=name))
        found = await extractor.extract(document(TEXTS[0]), OPTIONS)
        assert len(found.items) == 1
    finally:
        rules.close()


@pytest.mark.slow
async def test_replaced_rules_process_reads_the_requests_sent_before() -> None:
    rules, found = RulesProcesses(), Found()
    try:
        extractor = await stopped(rules)
        before = pid_of(rules)
        async with anyio.create_task_group() as tasks:
            for text in TEXTS:
                tasks.start_soon(read, extractor, text, found)
            await anyio.wait_all_tasks_blocked()
            elsewhere = msgspec.structs.replace(OPTIONS, timezone="Asia/Tokyo")
            tasks.start_soon(read, extractor, "Call Bob.", found, elsewhere)
            await anyio.wait_all_tasks_blocked()
            os.kill(before, signal.SIGCONT)
        assert found == dict.fromkeys((*TEXTS, "Call Bob."), 1)
        assert pid_of(rules) != before
    finally:
        rules.close()


@pytest.mark.slow
async def test_many_time_zones_are_loaded_by_one_more_rules_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.extraction.rules_process.MAX_ZONES", 1)
    rules, pids = RulesProcesses(), list[int]()
    try:
        extractor = Extractor(Models(), secret=bytes(32), rules=rules)
        for name in ("Asia/Tokyo", "Asia/Seoul", "Asia/Dhaka", "Africa/Lagos", "Asia/Tokyo"):
            options = msgspec.structs.replace(OPTIONS, timezone=name)
            assert len((await extractor.extract(document(TEXTS[0]), options)).items) == 1
            pids.append(pid_of(rules))
        assert len(set(pids)) == 2
    finally:
        rules.close()


async def test_texts_sent_to_a_killed_rules_process_are_all_read(rules: RulesProcesses) -> None:
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        for text in TEXTS:
            tasks.start_soon(read, extractor, text, found)
        await anyio.wait_all_tasks_blocked()
        os.kill(pid_of(rules), signal.SIGKILL)
    assert [*map(found.get, TEXTS)] == [1] * len(TEXTS)


async def test_text_fails_alone_after_ending_two_rules_processes(rules: RulesProcesses) -> None:
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        for text in TEXTS:
            tasks.start_soon(read, extractor, text, found)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            (process,) = rules.processes
            os.kill(process.process.pid, signal.SIGKILL)
            while process in rules.processes:
                await anyio.lowlevel.checkpoint()
    assert [*map(found.get, TEXTS)] == [None, *[1] * (len(TEXTS) - 1)]


async def test_rules_process_reads_for_others_after_an_asker_is_cancelled(rules: RulesProcesses) -> None:
    found, extractor = Found(), await stopped(rules)
    pid = pid_of(rules)
    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as cancelled:
            cancelled.start_soon(read, extractor, "Call Bob.", found)
            await anyio.wait_all_tasks_blocked()
            for text in TEXTS:
                tasks.start_soon(read, extractor, text, found)
            await anyio.wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
        os.kill(pid, signal.SIGCONT)
    assert found == dict.fromkeys(TEXTS, 1)
    assert pid_of(rules) == pid


async def test_cancelled_large_text_ends_the_rules_process(rules: RulesProcesses) -> None:
    extractor = await stopped(rules)
    async with anyio.create_task_group() as cancelled:
        cancelled.start_soon(read, extractor, LARGE, Found())
        await anyio.wait_all_tasks_blocked()
        (reading,) = (process for process in rules.processes if process.is_reading_large)
        cancelled.cancel_scope.cancel()
    assert reading not in rules.processes


async def test_large_text_is_read_by_another_process_than_the_short_texts_before(
    rules: RulesProcesses,
) -> None:
    extractor = await stopped(rules)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, extractor, LARGE, Found())
        await anyio.wait_all_tasks_blocked()
        assert [len(process.jobs) for process in rules.processes] == [0, 1]
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_small_text_is_read_by_another_process_while_one_reads_a_large_text(
    rules: RulesProcesses,
) -> None:
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, extractor, LARGE, found)
        await anyio.wait_all_tasks_blocked()
        stop_other(rules)
        await read(extractor, TEXTS[0], found)
        assert found == {TEXTS[0]: 1}
        os.kill(rules.processes[1].process.pid, signal.SIGCONT)
    assert LARGE in found


@pytest.mark.slow
async def test_text_of_another_run_is_read_while_a_run_with_many_files_occupies_one_process(
    rules: RulesProcesses,
) -> None:
    found, extractor = Found(), await stopped(rules)
    many = [f"{number} {'Anna must send the quote by Friday. ' * 1_360}" for number in range(36)]
    assert {len(text) // 1_000 for text in many} == {48}
    async with anyio.create_task_group() as tasks:
        for text in many:
            tasks.start_soon(read, extractor, text, found)
        await anyio.wait_all_tasks_blocked()
        stop_other(rules)
        with anyio.fail_after(PATIENCE_S):
            await read(extractor, TEXTS[0], found, msgspec.structs.replace(OPTIONS))
        assert found == {TEXTS[0]: 1}
        assert sum(process.is_reading_large for process in rules.processes) == 1
        tasks.cancel_scope.cancel()


async def test_texts_behind_a_slow_one_are_read_by_another_process(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        with monkeypatch.context() as sooner:
            sooner.setattr(rules_process, "_SLOW_S", 0.0)
            for text in TEXTS:
                tasks.start_soon(read, extractor, text, found)
            await anyio.wait_all_tasks_blocked()
        assert len(rules.processes[0].jobs) == len(TEXTS)
        while len(found) < len(TEXTS) - 1:
            await anyio.lowlevel.checkpoint()
        assert found == dict.fromkeys(TEXTS[1:], 1)
        os.kill(rules.processes[0].process.pid, signal.SIGCONT)
    assert found == dict.fromkeys(TEXTS, 1)


@pytest.mark.slow
async def test_second_process_is_started_where_documents_wait(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_process, "_BACKLOG_CHARS", 0)
    monkeypatch.setattr(rules_process, "_MAX_AHEAD", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        for text in TEXTS[:2]:
            tasks.start_soon(read, extractor, text, found)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as behind:
            for text in TEXTS[2:]:
                behind.start_soon(read, extractor, text, found)
        os.kill(rules.processes[0].process.pid, signal.SIGCONT)
    assert found == dict.fromkeys(TEXTS, 1)


async def test_text_of_another_run_waits_for_one_text_of_a_run_with_many(
    rules: RulesProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_process, "_MAX_AHEAD", 1)
    found, extractor = Found(), await stopped(rules)
    async with anyio.create_task_group() as tasks:
        for text in TEXTS:
            tasks.start_soon(read, extractor, text, found)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(read, extractor, "Call Bob.", found, msgspec.structs.replace(OPTIONS))
        await anyio.wait_all_tasks_blocked()
        os.kill(pid_of(rules), signal.SIGCONT)
    assert [*found].index("Call Bob.") == 2


def needs_calendars(document: Document) -> bool:
    request = ToExtract(document=document, options=OPTIONS, reads_prose=True)
    return CALENDAR in request.needs


class Found(dict[str, int | None]):
    """Number of items by text, in the order of the answers; None: the text was given up."""


async def stopped(rules: RulesProcesses) -> Extractor:
    """Return an extractor whose only rules process has answered, and is stopped."""
    if [process.jobs for process in rules.processes] == [[]]:  # of the test before, which may have stopped it
        os.kill(pid_of(rules), signal.SIGCONT)
    else:
        rules.close()
    extractor = Extractor(Models(), secret=bytes(32), rules=rules)
    await extractor.extract(document("Call Bob."), OPTIONS)
    os.kill(pid_of(rules), signal.SIGSTOP)
    return extractor


def stop_other(rules: RulesProcesses) -> None:
    """Let the first rules process, which is stopped, go on, and stop the second."""
    first, second = (process.process.pid for process in rules.processes)
    os.kill(second, signal.SIGSTOP)
    os.kill(first, signal.SIGCONT)


async def read(extractor: Extractor, text: str, found: Found, options: ExtractionOptions = OPTIONS) -> None:
    try:
        found[text] = len((await extractor.extract(document(text), options)).items)
    except ExtractionError:
        found[text] = None


def pid_of(rules: RulesProcesses) -> int:
    (process,) = rules.processes
    return process.process.pid
