"""Frames of a run turned into documents, and everything that can be wrong with them."""

import base64
import hashlib
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
import pytest

from hub.document import Document
from hub.links.roster import RunFrame, RunTooLarge
from hub.metrics import Metrics
from hub.runs.run_order import RunOrder, RunSettings
from hub.runs.sources import (
    DeviceSource,
    DeviceStalled,
    NotTakenOn,
    ReadTree,
    SeenUnits,
    SettledTree,
    SourceEvent,
    TakenOn,
    UnreadUnit,
)
from hub.text import office
from hub.text.convert import convert
from hub.text.files import ConvertLimits
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.tables import TableName
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    FilePiece,
    ManifestFile,
    ManifestTree,
    Provenance,
    ProvenanceOrigin,
    RunLimits,
    RunMode,
    SkippedFile,
)
from storage.runs.units import LedgerEntry
from tests.support import odd_files
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.link import FakeLink
from tests.support.runs import MODERN, PAGED, digest

ORDER = RunOrder(
    run_id=RunId("r"),
    agent_id=AgentId("a"),
    user_id=UserId("u"),
    device_id=DeviceId("d"),
    fence=3,
    attempt=1,
    max_attempts=5,
    dispatches=0,
    timeout_s=3_600.0,
    settings=RunSettings(
        paths=("notes",),
        file_extensions=(".md",),
        data_types=(TableName.TASKS,),
        prompt="",
        timezone="UTC",
        config_fingerprint="f",
    ),
)
END = AgentComplete(run_id="r")


def piece(path: str, content: str, number: int = 0, of: int = 1, letter: str = "a") -> AgentData:
    file = FilePiece(path=path, content=content, piece=number, pieces=of, sha256=digest(letter))
    return AgentData(run_id="r", files=[file])


def manifest(*paths: str) -> AgentManifest:
    files = [ManifestFile(path=path, size_bytes=1, sha256=digest("a")) for path in paths]
    return AgentManifest(run_id="r", files=files)


async def read(
    *frames: RunFrame | Exception,
    known: Mapping[str, str] | None = None,
    dealt_with: Sequence[str] = (),
    tree: str | None = None,
    capabilities: Sequence[str] = MODERN,
    piece_timeout_s: float = 60.0,
    run_files: int = 2_000,
    run_bytes: int = 64 * 1024 * 1024,
    taken: int = 0,
    times: Mapping[str, int] | None = None,
    metrics: Metrics | None = None,
    converting: ConvertLimits | None = None,
) -> tuple[list[SourceEvent], FakeLink]:
    link = FakeLink("d", capabilities=capabilities, runs=[frames])
    source = DeviceSource(
        limits=RunLimits(files=run_files, bytes=run_bytes),
        credit=16,
        metrics=metrics or Metrics(),
        clock=FakeClock(),
        piece_timeout_s=piece_timeout_s,
        converting=converting,
    )
    reading = source.read(link, ORDER, Past(known, times, tree), dealt_with=dealt_with, taken=taken)
    async with aclosing(reading) as events:
        return [event async for event in events], link


class Past:
    """A ``Progress``: digests of settled files, times of the last attempts, and a tree that is settled."""

    def __init__(
        self, known: Mapping[str, str] | None, times: Mapping[str, int] | None, tree: str | None
    ) -> None:
        self._known, self._times, self._tree = known or {}, times or {}, tree

    async def entries(self, unit_keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        known = self._known.keys() | self._times.keys()
        return {
            key: LedgerEntry(self._known.get(key, ""), self._times.get(key, 0))
            for key in unit_keys
            if key in known
        }

    async def has_settled(self, tree: ManifestTree | None) -> bool:
        return tree is not None and tree.digest == self._tree


def documents(events: Sequence[SourceEvent]) -> dict[str, str]:
    return {event.unit_key: event.text for event in events if isinstance(event, Document)}


def messages(events: Sequence[SourceEvent]) -> list[str]:
    return [event.message for event in events if isinstance(event, UnreadUnit)]


def unread(events: Sequence[SourceEvent]) -> list[tuple[str, str]]:
    return [(event.unit_key, event.code) for event in events if isinstance(event, UnreadUnit)]


async def test_a_file_in_pieces_becomes_one_document_and_its_credit_is_given_back() -> None:
    events, link = await read(
        manifest("a.md"),
        piece("a.md", "one ", 0, 3),
        piece("a.md", "two ", 1, 3),
        piece("a.md", "三", 2, 3),
        END,
    )
    assert documents(events) == {"a.md": "one two 三"}
    assert link.streams[0].granted == 3


async def test_the_order_says_manifest_where_the_device_can_and_stream_where_it_cannot() -> None:
    _, modern = await read(manifest(), END)
    _, simple = await read(END, capabilities=())
    assert modern.streams[0].run.mode is RunMode.MANIFEST
    assert simple.streams[0].run.mode is RunMode.STREAM
    assert modern.streams[0].run.fence == 3


async def test_only_what_is_not_known_is_fetched() -> None:
    events, link = await read(
        manifest("same.md", "changed.md", "mine.md"),
        piece("changed.md", "new"),
        END,
        known={"same.md": digest("a"), "changed.md": digest("b")},
        dealt_with=["mine.md"],
    )
    assert link.streams[0].fetched == [(("changed.md",), True)]
    seen = next(event for event in events if isinstance(event, SeenUnits))
    assert ([file.path for file in seen.files], seen.listed) == (["same.md"], 3)


async def test_a_manifest_in_several_frames_is_fetched_and_counted_once_it_is_whole() -> None:
    first = AgentManifest(run_id="r", files=manifest("a.md").files, last=False)
    events, link = await read(first, manifest("b.md"), piece("a.md", "x"), piece("b.md", "y"), END)
    assert link.streams[0].fetched == [(("a.md", "b.md"), True)]
    assert [event.listed for event in events if isinstance(event, SeenUnits)] == [None, 2]


TREE = ManifestTree(digest=digest("f"), files=3)


async def test_a_tree_that_is_settled_ends_the_manifest_with_one_frame_each_way() -> None:
    only_tree = AgentManifest(run_id="r", tree=TREE, last=False)
    events, link = await read(only_tree, END, capabilities=PAGED, tree=TREE.digest)
    assert link.streams[0].fetched == [((), True)]
    assert [event for event in events if not isinstance(event, TakenOn)] == [SettledTree(3)]


async def test_a_tree_that_is_not_settled_is_listed_and_reported_once_all_of_it_was_read() -> None:
    only_tree = AgentManifest(run_id="r", tree=TREE, last=False)
    files, pieces = manifest("old.md", "a.md", "b.md"), (piece("a.md", "x"), piece("b.md", "y"))
    known = {"old.md": digest("a")}
    events, link = await read(only_tree, files, *pieces, END, capabilities=PAGED, known=known)
    assert link.streams[0].fetched == [((), False), (("a.md", "b.md"), True)]
    assert events[-1] == ReadTree(TREE, {"a.md": digest("a"), "b.md": digest("a")})


async def test_a_tree_at_the_end_of_a_manifest_is_reported_as_well() -> None:
    files = msgspec.structs.replace(manifest("a.md"), tree=TREE)
    events, _ = await read(files, piece("a.md", "x"), END, capabilities=PAGED, tree=TREE.digest)
    assert list(documents(events)) == ["a.md"]  # its files are there: the digest is no claim about them
    assert events[-1] == ReadTree(TREE, {"a.md": digest("a")})


@pytest.mark.parametrize(
    ("frames", "run_files"),
    [
        ([piece("a.md", "x"), END], 9),
        ([piece("a.md", "x"), END], 1),
        ([piece("a.md", "x"), piece("b.md", "x", 0, 2), END], 9),
        ([piece("a.md", "x"), piece("b.md", "x"), AgentComplete(run_id="r", error="broken")], 9),
    ],
    ids=["a file did not come", "a file is left for the next run", "a file came in part", "the device broke"],
)
async def test_a_tree_of_which_something_was_not_read_is_not_reported(
    frames: list[RunFrame], run_files: int
) -> None:
    files = msgspec.structs.replace(manifest("a.md", "b.md"), tree=TREE)
    events, _ = await read(files, *frames, capabilities=PAGED, run_files=run_files)
    assert not any(isinstance(event, ReadTree) for event in events)


async def test_a_file_that_was_left_out_on_purpose_belongs_to_a_tree_and_one_that_failed_does_not() -> None:
    files = msgspec.structs.replace(manifest("a.md", "b.md"), tree=TREE)
    skipped = [SkippedFile(path="a.md", reason="not_convertible"), SkippedFile(path="b.md", reason="changed")]
    events, _ = await read(files, AgentComplete(run_id="r", skipped=skipped), capabilities=PAGED)
    assert events[-1] == ReadTree(TREE, {"b.md": digest("a")})


async def test_an_acknowledgement_or_the_first_frame_says_that_the_run_is_taken_on() -> None:
    acknowledged, _ = await read(AgentAck(run_id="r"), manifest(), END)
    silent, _ = await read(manifest(), END)
    empty, _ = await read(END)
    for events in (acknowledged, silent, empty):
        assert [type(event) for event in events].count(TakenOn) == 1
        assert isinstance(events[0], TakenOn)


async def test_pieces_out_of_order_lose_their_file_and_no_other() -> None:
    events, _ = await read(
        manifest("a.md", "b.md"),
        piece("a.md", "2", 1, 2),
        piece("a.md", "1", 0, 2),
        piece("b.md", "fine"),
        END,
    )
    assert documents(events) == {"b.md": "fine"}
    assert unread(events) == [("a.md", ErrorCode.FILE_INCOMPLETE)]


async def test_a_file_that_changes_while_it_is_read_is_not_taken_half_and_half() -> None:
    events, _ = await read(
        manifest("a.md"), piece("a.md", "old", 0, 2, "a"), piece("a.md", "new", 1, 2, "b"), END
    )
    assert documents(events) == {}
    assert unread(events) == [("a.md", ErrorCode.FILE_CHANGED)]


async def test_files_that_never_became_whole_are_named_at_the_end() -> None:
    events, _ = await read(manifest("half.md", "never.md"), piece("half.md", "1", 0, 2), END)
    assert unread(events) == [
        ("half.md", ErrorCode.FILE_INCOMPLETE),
        ("never.md", ErrorCode.FILE_INCOMPLETE),
    ]


async def test_the_first_version_of_a_file_sent_twice_is_taken() -> None:
    events, _ = await read(manifest("a.md"), piece("a.md", "first"), piece("a.md", "second"), END)
    assert documents(events) == {"a.md": "first"}


async def test_a_thin_device_sends_bytes_and_the_hub_makes_them_text() -> None:
    html = base64.b64encode(b"<p>Call <b>Anna</b></p><script>no()</script>").decode()
    file = FilePiece(path="a.html", content=html, encoding="base64", media_type="text/html")
    events, _ = await read(AgentData(run_id="r", files=[file]), END, capabilities=())
    text = documents(events)["a.html"]
    assert "Call Anna" in text and "no()" not in text


async def test_bytes_may_be_cut_anywhere_and_are_put_together_again() -> None:
    content = base64.b64encode(b"<p>Call Anna</p>").decode()
    pieces = [
        FilePiece(path="a.html", content=letter, piece=at, pieces=len(content), encoding="base64")
        for at, letter in enumerate(content)
    ]
    events, _ = await read(AgentData(run_id="r", files=pieces), END, capabilities=())
    assert documents(events) == {"a.html": "Call Anna"}
    assert [event.content_hash for event in events if isinstance(event, Document)] == [
        hashlib.sha256(b"<p>Call Anna</p>").hexdigest()
    ]


async def test_a_simple_device_that_sends_a_page_or_a_mail_as_it_is_has_it_read_here() -> None:
    page = FilePiece(path="a.html", content="<p>Call <b>Anna</b></p><p hidden>order</p>")
    letter = "From: Ann <ann@example.org>\nDate: Tue, 3 Jun 2025 10:00:00 +0200\n\nPay rent"
    mail = FilePiece(path="b.eml", content=letter, modified_ms=1)
    events, _ = await read(AgentData(run_id="r", files=[page, mail]), END, capabilities=())

    found = {event.unit_key: event for event in events if isinstance(event, Document)}
    assert found["a.html"].text == "Call Anna"
    assert found["a.html"].hidden_parts == 1
    assert found["b.eml"].modified_at == datetime(2025, 6, 3, 8, tzinfo=UTC)


async def test_a_saved_mail_or_page_is_from_others_and_any_other_file_is_the_owners() -> None:
    letter = "From: Ann <ann@example.org>\nDate: Tue, 3 Jun 2025 10:00:00 +0200\n\nPay rent"
    files = [
        FilePiece(path="a.html", content="<p>Call Anna</p>"),
        FilePiece(path="b.eml", content=letter),
        FilePiece(path="c.eml", content="Pay rent", media_type="text/plain"),
        FilePiece(path="d.txt", content="Call Anna", media_type="text/html"),
        FilePiece(path="e.md", content="Call Anna"),
    ]
    events, _ = await read(AgentData(run_id="r", files=files), END, capabilities=())
    found = {event.unit_key: event.provenance for event in events if isinstance(event, Document)}
    assert found == {
        "a.html": Provenance(origin=ProvenanceOrigin.WEB, trusted=False),
        "b.eml": Provenance(origin=ProvenanceOrigin.MAIL, author="Ann <ann@example.org>", trusted=False),
        "c.eml": Provenance(origin=ProvenanceOrigin.MAIL, trusted=False),
        "d.txt": Provenance(origin=ProvenanceOrigin.WEB, trusted=False),
        "e.md": Provenance(origin=ProvenanceOrigin.OWN, trusted=True),
    }


async def test_a_mail_that_its_device_converted_names_its_sender() -> None:
    sent = (
        b"From: Support Team <support@quick-deals.example>\nSubject: Bills\n\nFrom: Eve <eve@example.org>\n"
    )
    bare = b"Subject: Bills\n\nPay rent\n\nFrom: Eve <eve@example.org>\n"
    files = [
        FilePiece(path=path, content=converted.text, media_type=converted.media_type)
        for path, converted in (
            ("a.eml", convert(sent, path="a.eml")),
            ("b.eml", convert(bare, path="b.eml")),
        )
    ]
    events, _ = await read(AgentData(run_id="r", files=files), END, capabilities=())
    found = {event.unit_key: event.provenance for event in events if isinstance(event, Document)}
    assert found == {
        "a.eml": Provenance(
            origin=ProvenanceOrigin.MAIL, author="Support Team <support@quick-deals.example>", trusted=False
        ),
        "b.eml": Provenance(origin=ProvenanceOrigin.MAIL, trusted=False),
    }


async def test_each_message_of_an_archive_has_its_own_author() -> None:
    chat = "06/01/2025, 14:22 - Anna: pay rent\n28/01/2025, 14:22 - Bob: call Eve\n"
    mails = "From x\nFrom: Ann <ann@example.org>\n\nPay rent\n\nFrom y\nSubject: Call Eve\n\nplease\n"
    files = [
        FilePiece(path="a.txt", content=chat),
        FilePiece(
            path="b.txt", content=chat, media_type="text/plain"
        ),  # by a device that does not know chats
        FilePiece(path="c.mbox", content=mails),
    ]
    events, _ = await read(AgentData(run_id="r", files=files), END, capabilities=())

    found = {event.unit_key: event for event in events if isinstance(event, Document)}
    by_chat = [Provenance(origin=ProvenanceOrigin.CHAT, author=who, trusted=False) for who in ("Anna", "Bob")]
    by_mail = [
        Provenance(origin=ProvenanceOrigin.MAIL, author=who, trusted=False)
        for who in ("Ann <ann@example.org>", None)
    ]
    for path, expected in {"a.txt": by_chat, "b.txt": by_chat, "c.mbox": by_mail}.items():
        document = found[path]
        written = [document.text.lower().index(words) for words in ("pay rent", "call eve")]
        assert [document.provenance_at(place) for place in written] == expected


async def test_what_a_device_has_made_text_of_is_taken_as_it_is() -> None:
    file = FilePiece(path="a.html", content="1 < 2 > 0", media_type="text/html", hidden=3)
    events, _ = await read(AgentData(run_id="r", files=[file]), END)

    (document,) = (event for event in events if isinstance(event, Document))
    assert (document.text, document.hidden_parts) == ("1 < 2 > 0", 3)


async def test_a_device_gets_the_file_types_that_the_hub_reads() -> None:
    _, link = await read(manifest(), END)

    told = link.streams[0].run.reads
    assert {"text/html", "message/rfc822"} <= set(told)
    assert ("application/pdf" in told) is office.is_installed()


async def test_a_file_that_takes_too_long_to_read_is_marked_and_counted_and_the_next_one_is_read() -> None:
    pytest.importorskip("kreuzberg")
    metrics = Metrics()
    report = base64.b64encode(odd_files.long_pdf(1_500)).decode()
    slow = FilePiece(path="a.pdf", content=report, encoding="base64")
    next_one = FilePiece(path="b.md", content="Pay rent")
    events, _ = await read(
        AgentData(run_id="r", files=[slow, next_one]),
        END,
        metrics=metrics,
        converting=ConvertLimits(seconds=0.3),
    )
    assert unread(events) == [("a.pdf", ErrorCode.NOT_CONVERTIBLE)]
    assert documents(events) == {"b.md": "Pay rent"}
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "convert_seconds"}) == 1


@each(
    ("file", "code"),
    [
        (FilePiece(path="a", content="QQ==QUJD", encoding="base64"), ErrorCode.BAD_FRAME),
        (FilePiece(path="a", content="QUJDR", encoding="base64"), ErrorCode.BAD_FRAME),
        (FilePiece(path="a", content="%%%", encoding="base64"), ErrorCode.BAD_FRAME),
        (FilePiece(path="a", content="x", encoding="rot13"), ErrorCode.NOT_CONVERTIBLE),
        (
            FilePiece(path="a.bin", content=base64.b64encode(b"\0\1\2" * 9).decode(), encoding="base64"),
            ErrorCode.NOT_CONVERTIBLE,
        ),
    ],
)
async def test_what_cannot_be_made_text_is_named_with_its_reason(file: FilePiece, code: ErrorCode) -> None:
    events, _ = await read(AgentData(run_id="r", files=[file]), END, capabilities=())
    assert unread(events) == [(file.path, code)]


async def test_what_is_no_text_is_left_out_and_what_reaches_a_limit_has_failed() -> None:
    pytest.importorskip("kreuzberg")
    noise = FilePiece(path="a.bin", content=base64.b64encode(b"\0" * 9).decode(), encoding="base64")
    report = base64.b64encode(odd_files.long_pdf(1_500)).decode()
    slow = FilePiece(path="b.pdf", content=report, encoding="base64")
    events, _ = await read(
        AgentData(run_id="r", files=[noise, slow]), END, converting=ConvertLimits(seconds=0.3)
    )
    failed = {event.unit_key: event.is_failure for event in events if isinstance(event, UnreadUnit)}
    assert failed == {"a.bin": False, "b.pdf": True}


async def test_a_run_refused_as_a_whole_says_whether_to_come_back() -> None:
    with pytest.raises(NotTakenOn) as busy:
        await read(AgentAck(run_id="r", accepted=False, reason="busy"))
    with pytest.raises(NotTakenOn) as refused:
        await read(
            AgentComplete(run_id="r", error=ErrorBody(code=ErrorCode.NOTHING_SHARED, message="no folder"))
        )
    with pytest.raises(NotTakenOn) as plain:
        await read(AgentComplete(run_id="r", error="disk on fire"), capabilities=())
    assert (busy.value.busy, refused.value.busy, plain.value.busy) == (True, False, False)
    assert "disk on fire" in str(plain.value)


async def test_a_run_that_the_device_breaks_off_keeps_what_came_and_says_so() -> None:
    broken = AgentComplete(run_id="r", error="disk on fire")
    events, _ = await read(manifest("a.md"), piece("a.md", "text"), broken)
    assert documents(events) == {"a.md": "text"}
    assert unread(events) == [("", ErrorCode.DEVICE_ERROR)]


async def test_a_device_that_sends_more_than_it_may_keeps_what_was_whole() -> None:
    metrics = Metrics()
    events, _ = await read(piece("a.md", "text"), RunTooLarge("64 MiB"), capabilities=(), metrics=metrics)
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "run_bytes"}) == 1
    assert documents(events) == {"a.md": "text"}
    assert unread(events) == [("", ErrorCode.TOO_LARGE)]


async def test_of_a_manifest_no_more_is_fetched_than_a_run_may_read() -> None:
    metrics = Metrics()
    events, link = await read(
        manifest("old.md", "a.md", "b.md", "c.md"),
        piece("a.md", "1"),
        piece("b.md", "2"),
        END,
        known={"old.md": digest("a")},  # settled: it is not fetched, and uses nothing up
        run_files=2,
        metrics=metrics,
    )
    assert link.streams[0].fetched == [(("a.md", "b.md"), True)]
    assert documents(events) == {"a.md": "1", "b.md": "2"}
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "run_files"}) == 1


async def test_of_what_a_manifest_lists_beyond_that_nothing_is_kept() -> None:
    kept: list[int] = []  # bytes in use after each frame

    def frames() -> Iterator[RunFrame]:
        for frame in range(100):
            files = [f"{frame}-{number}.md" for number in range(100)]
            yield msgspec.structs.replace(manifest(*files), last=False)
            kept.append(tracemalloc.get_traced_memory()[0])
        yield END

    link = FakeLink("d", capabilities=MODERN, runs=[frames()])
    source = DeviceSource(limits=RunLimits(files=2), credit=16, metrics=Metrics(), clock=FakeClock())
    tracemalloc.start()
    try:
        async with aclosing(source.read(link, ORDER, Past(None, None, None), taken=0)) as events:
            frames_read = sum([isinstance(event, SeenUnits) async for event in events])
    finally:
        tracemalloc.stop()
    assert frames_read == 100
    assert kept[-1] - kept[10] < 100 * 1024  # of 9,000 entries, of 200 bytes each


@each("capabilities", [MODERN, ()])
async def test_of_a_device_that_sends_more_files_than_a_run_may_read_the_rest_is_not_taken(
    capabilities: Sequence[str],
) -> None:
    paths = [f"{number}.md" for number in range(60)]
    listed = [manifest(*paths)] if capabilities else []
    metrics = Metrics()
    events, _ = await read(
        *listed,
        *(piece(path, "x") for path in paths),
        END,
        capabilities=capabilities,
        run_files=5,
        metrics=metrics,
    )
    assert list(documents(events)) == paths[:5]
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "run_files"}) == 1


async def test_files_of_which_only_the_beginning_comes_use_up_what_a_run_may_read() -> None:
    begun = [piece(f"{number}.md", "x", 0, 2) for number in range(9)]
    events, _ = await read(*begun, END, capabilities=(), run_files=5)
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]


async def test_a_file_that_was_settled_before_uses_nothing_up_where_there_is_no_manifest() -> None:
    known = {"old.md": digest("a"), "changed.md": digest("b")}
    events, _ = await read(
        piece("old.md", "1"),
        piece("new.md", "2"),
        piece("old2.md", "3"),
        END,
        capabilities=(),
        run_files=1,
        known=known | {"old2.md": digest("a")},
    )
    assert (documents(events), unread(events)) == ({"new.md": "2"}, [])
    events, _ = await read(
        piece("new.md", "1"), piece("changed.md", "2"), END, capabilities=(), run_files=1, known=known
    )
    assert (documents(events), unread(events)) == ({"new.md": "1"}, [("", ErrorCode.LIMIT_REACHED)])


async def test_what_an_earlier_attempt_read_counts_among_what_the_run_may_read() -> None:
    events, link = await read(
        manifest("a.md", "b.md", "c.md"), piece("b.md", "2"), END, dealt_with=["a.md"], run_files=2, taken=1
    )
    assert link.streams[0].fetched == [(("b.md",), True)]
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]


async def test_a_device_from_which_nothing_comes_is_not_waited_for_for_ever() -> None:
    with pytest.raises(DeviceStalled):
        await read(capabilities=(), piece_timeout_s=0.01)


def listed(path: str, *, size_bytes: int = 1, modified_ms: int = 0) -> ManifestFile:
    return ManifestFile(path=path, size_bytes=size_bytes, sha256=digest("a"), modified_ms=modified_ms)


def page(*files: ManifestFile, last: bool = True) -> AgentManifest:
    return AgentManifest(run_id="r", files=list(files), last=last)


async def test_files_that_no_run_has_tried_are_read_first_and_then_those_tried_longest_ago() -> None:
    times = {"busy.md": 900, "broken.md": 500, "changed.md": 100}
    events, link = await read(
        page(listed("broken.md"), listed("busy.md"), listed("changed.md"), last=False),
        page(listed("new.md", modified_ms=70), listed("old.md", modified_ms=60)),
        *(piece(path, path) for path in ("old.md", "new.md", "changed.md")),
        END,
        capabilities=PAGED,
        run_files=3,
        times=times,
    )
    assert link.streams[0].fetched == [((), False), (("old.md", "new.md", "changed.md"), True)]
    assert messages(events) == [
        "run_files = 3 in [limits] of hub.toml: 2 of 5 files are left for the next runs"
    ]


async def test_each_frame_of_a_paged_manifest_is_asked_for_and_those_of_another_device_are_not() -> None:
    frames: list[RunFrame] = [
        page(listed("a.md"), last=False),
        page(listed("b.md"), last=False),
        page(listed("c.md")),
        END,
    ]
    for capabilities, asked in ((PAGED, [((), False)] * 2), (MODERN, [])):
        _, link = await read(*frames, capabilities=capabilities)
        stream = link.streams[0]
        assert stream.run.paged is (capabilities is PAGED)
        assert stream.fetched == [*asked, (("a.md", "b.md", "c.md"), True)]


async def test_a_run_reads_as_many_bytes_as_it_may_and_reports_a_larger_file() -> None:
    metrics = Metrics()
    events, link = await read(
        page(
            listed("a.md", size_bytes=60),
            listed("b.md", size_bytes=60),
            listed("c.md", size_bytes=40),
            last=False,
        ),
        page(listed("huge.md", size_bytes=101)),
        piece("a.md", "1"),
        piece("c.md", "2"),
        END,
        run_bytes=100,
        metrics=metrics,
    )
    assert link.streams[0].fetched[-1] == (("a.md", "c.md"), True)
    (told,) = messages(events)
    assert "2 of 4 files are left" in told
    assert "1 of them are larger" in told
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "run_bytes"}) == 1


async def test_files_that_a_device_leaves_out_count_among_those_that_it_has() -> None:
    left_out = [SkippedFile(path="b.png", reason="not_convertible"), SkippedFile(path="*", reason="7 more")]
    events, _ = await read(
        manifest("a.md"), piece("a.md", "1"), msgspec.structs.replace(END, skipped=left_out)
    )
    assert [event.listed for event in events if isinstance(event, SeenUnits)] == [1, 2]


async def test_a_listing_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.runs.sources.MOST_LISTED", 3)
    endless = (page(listed(f"{number}.md"), listed(f"{number}.txt"), last=False) for number in range(100))
    events, link = await read(*endless, capabilities=PAGED)
    assert link.streams[0].taken == 2
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]
