"""Frames of a run turned into documents, and everything that can be wrong with them."""

import base64
import hashlib
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hub.base.metrics import Metrics
from hub.document import Document
from hub.links.device_link import RunFrame, RunTooLarge
from hub.runs.run_order import RunOrder, RunSettings
from hub.runs.sources import (
    DeviceSource,
    DeviceStalled,
    Ledger,
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
from protocol.items import Provenance, ProvenanceOrigin
from protocol.skipped_files import SkippedFile, SkipReason
from protocol.tables import TableName
from protocol.work import (
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    FilePiece,
    ManifestFile,
    ManifestTree,
    PartCount,
    RunLimits,
    RunMode,
)
from storage.runs.units import LedgerEntry
from tests.support import odd_files
from tests.support.clock import FakeClock
from tests.support.families import each
from tests.support.link import FakeLink, FakeStream
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
    settled_paths: Sequence[str] = (),
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
    reading = source.read(link, ORDER, Past(known, times, tree), settled_paths=settled_paths, taken=taken)
    async with aclosing(reading) as events:
        return [event async for event in events], link


class Past(Ledger):
    """A ledger: digests of settled files, times of the last attempts, and a tree that is settled."""

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


async def test_run_mode_is_manifest_or_stream_depending_on_device_capabilities() -> None:
    _, modern = await read(manifest(), END)
    _, simple = await read(END, capabilities=())
    assert modern.streams[0].run.mode is RunMode.MANIFEST
    assert simple.streams[0].run.mode is RunMode.STREAM
    assert modern.streams[0].run.fence == 3


async def test_only_files_with_an_unknown_digest_are_fetched() -> None:
    events, link = await read(
        manifest("same.md", "changed.md", "mine.md"),
        piece("changed.md", "new"),
        END,
        known={"same.md": digest("a"), "changed.md": digest("b")},
        settled_paths=["mine.md"],
    )
    assert link.streams[0].fetched == [(("changed.md",), True)]
    seen = next(event for event in events if isinstance(event, SeenUnits))
    assert ([file.path for file in seen.files], seen.listed) == (["same.md"], 3)


async def test_files_without_a_manifest_that_have_arrived_are_looked_up_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []
    look_up = Past.entries

    async def entries(self: Past, unit_keys: Sequence[str]) -> Mapping[str, LedgerEntry]:
        asked.append(sorted(unit_keys))
        return await look_up(self, unit_keys)

    monkeypatch.setattr(Past, "entries", entries)
    monkeypatch.setattr(FakeStream, "arrived_paths", lambda _: ["b.md", "same.md"])
    frames = [piece(path, path) for path in ("a.md", "b.md", "same.md", "late.md")]
    events, _ = await read(*frames, END, capabilities=(), known={"same.md": digest("a")})
    assert asked == [["a.md", "b.md", "same.md"], ["late.md"]]
    assert [*documents(events)] == ["a.md", "b.md", "late.md"]


async def test_unchanged_files_that_arrived_together_without_a_manifest_are_one_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {f"{number}.md": digest("a") for number in range(3)}
    frames = [piece(path, path) for path in (*known, "new.md")]
    single, _ = await read(*frames, END, capabilities=(), known=known)
    monkeypatch.setattr(FakeStream, "is_ready", property(lambda _: True, lambda *_: None), raising=False)
    events, _ = await read(*frames, END, capabilities=(), known=known, times=dict.fromkeys(known, 7))
    monkeypatch.setattr("hub.runs.sources.UNCHANGED_BYTES", 300)
    bounded, _ = await read(*frames, END, capabilities=(), known=known)
    assert [*map(seen_paths, (single, events, bounded))] == [
        [["0.md"], ["1.md"], ["2.md"]],
        [["0.md", "1.md", "2.md"]],
        [["0.md", "1.md"], ["2.md"]],
    ]
    assert [event.oldest_at for event in events if isinstance(event, SeenUnits)] == [7]
    assert documents(events) == documents(bounded) == {"new.md": "new.md"}


def seen_paths(events: Sequence[SourceEvent]) -> list[list[str]]:
    return [[file.path for file in event.files] for event in events if isinstance(event, SeenUnits)]


def limits(metrics: Metrics) -> dict[str, int]:
    return {name: count for name, count in metrics.reached().items() if count}


LIMITED: list[tuple[str, str]] = [("", ErrorCode.LIMIT_REACHED)]
SIMPLE = {"capabilities": ()}
MANY = [f"{number}.md" for number in range(60)]
BROKEN = AgentComplete(run_id="r", error="disk on fire")


def file(path: str, content: str, encoding: str) -> AgentData:
    return AgentData(run_id="r", files=[FilePiece(path=path, content=content, encoding=encoding)])


# Frames of a device, options of the reading, the documents, what was unread, and limits that were reached.
READ: dict[
    str,
    tuple[
        list[RunFrame | Exception],
        dict[str, Any],
        dict[str, str],
        list[tuple[str, str]],
        dict[str, int],
    ],
] = {
    "a file in pieces": (
        [
            manifest("a.md"),
            piece("a.md", "one ", 0, 3),
            piece("a.md", "two ", 1, 3),
            piece("a.md", "三", 2, 3),
            END,
        ],
        {},
        {"a.md": "one two 三"},
        [],
        {},
    ),
    "pieces out of order lose their file and no other": (
        [
            manifest("a.md", "b.md"),
            piece("a.md", "2", 1, 2),
            piece("a.md", "1", 0, 2),
            piece("b.md", "fine"),
            END,
        ],
        {},
        {"b.md": "fine"},
        [("a.md", ErrorCode.FILE_INCOMPLETE)],
        {},
    ),
    "a file that changes while it is read": (
        [manifest("a.md"), piece("a.md", "old", 0, 2, "a"), piece("a.md", "new", 1, 2, "b"), END],
        {},
        {},
        [("a.md", ErrorCode.FILE_CHANGED)],
        {},
    ),
    "files that never became whole": (
        [manifest("half.md", "never.md"), piece("half.md", "1", 0, 2), END],
        {},
        {},
        [("half.md", ErrorCode.FILE_INCOMPLETE), ("never.md", ErrorCode.FILE_INCOMPLETE)],
        {},
    ),
    "a path that no file has, by a manifest": (
        [manifest("a\0.md", "b.md"), piece("a\0.md", "text"), piece("b.md", "fine"), END],
        {},
        {"b.md": "fine"},
        [("a\ufffd.md", SkipReason.NAME_NOT_UTF8)],
        {},
    ),
    "a path that no file has, without one": (
        [piece("a\0.md", "te", 0, 2), piece("a\0.md", "xt", 1, 2), piece("b.md", "fine"), END],
        SIMPLE,
        {"b.md": "fine"},
        [("a\ufffd.md", SkipReason.NAME_NOT_UTF8)],
        {},
    ),
    "a file sent twice": (
        [manifest("a.md"), piece("a.md", "first"), piece("a.md", "second"), END],
        {},
        {"a.md": "first"},
        [],
        {},
    ),
    "broken off by the device": (
        [manifest("a.md"), piece("a.md", "text"), BROKEN],
        {},
        {"a.md": "text"},
        [("", ErrorCode.DEVICE_ERROR)],
        {},
    ),
    "more than a device may send": (
        [piece("a.md", "text"), RunTooLarge("64 MiB")],
        SIMPLE,
        {"a.md": "text"},
        [("", ErrorCode.TOO_LARGE)],
        {"run_bytes": 1},
    ),
    "more files than a run may read, by a manifest": (
        [manifest(*MANY), *(piece(path, "x") for path in MANY), END],
        {"run_files": 5},
        dict.fromkeys(MANY[:5], "x"),
        LIMITED,
        {},
    ),
    "more files than a run may read, without one": (
        [*(piece(path, "x") for path in MANY), END],
        {"run_files": 5, **SIMPLE},
        dict.fromkeys(MANY[:5], "x"),
        LIMITED,
        {},
    ),
    "more files than a run may read, only begun": (
        [*(piece(path, "x", 0, 2) for path in MANY[:9]), END],
        {"run_files": 5, **SIMPLE},
        {},
        LIMITED,
        {},
    ),
    "settled files use nothing up": (
        [piece("old.md", "1"), piece("new.md", "2"), piece("old2.md", "3"), END],
        {"run_files": 1, "known": dict.fromkeys(("old.md", "old2.md"), digest("a")), **SIMPLE},
        {"new.md": "2"},
        [],
        {},
    ),
    "changed files do": (
        [piece("new.md", "1"), piece("changed.md", "2"), END],
        {"run_files": 1, "known": {"changed.md": digest("b")}, **SIMPLE},
        {"new.md": "1"},
        LIMITED,
        {},
    ),
    **{
        f"no text: {content}, {encoding}": (
            [file("a.bin", content, encoding), END],
            SIMPLE,
            {},
            [("a.bin", code)],
            {},
        )
        for content, encoding, code in (
            ("QQ==QUJD", "base64", ErrorCode.BAD_FRAME),
            ("QUJDR", "base64", ErrorCode.BAD_FRAME),
            ("%%%", "base64", ErrorCode.BAD_FRAME),
            ("x", "rot13", ErrorCode.NOT_CONVERTIBLE),
            (base64.b64encode(b"\0\1\2" * 9).decode(), "base64", ErrorCode.NOT_CONVERTIBLE),
        )
    },
}


@each("case", READ)
async def test_run_frames_become_documents_and_unreadable_files_are_reported(case: str) -> None:
    frames, options, texts, failed, reached = READ[case]
    metrics = Metrics()
    events, link = await read(*frames, metrics=metrics, **options)
    assert (documents(events), unread(events), limits(metrics)) == (texts, failed, reached)
    if case == "a file in pieces":
        assert link.streams[0].granted == 3


TREE = ManifestTree(digest=digest("f"), files=3)
ONLY_TREE = AgentManifest(run_id="r", tree=TREE, last=False)
WITH_TREE = msgspec.structs.replace(manifest("a.md", "b.md"), tree=TREE)
X, Y = piece("a.md", "x"), piece("b.md", "y")


def skipped(**reasons: str) -> AgentComplete:
    left_out = [SkippedFile(path=f"{name}.md", reason=reason) for name, reason in reasons.items()]
    return AgentComplete(run_id="r", skipped=left_out)


# Frames of a device, options of the reading, what is fetched, and the last event if it is of a tree.
FETCHED: dict[
    str,
    tuple[
        list[RunFrame | Exception],
        dict[str, Any],
        list[tuple[tuple[str, ...], bool]],
        SourceEvent | None,
    ],
] = {
    "a manifest in several frames": (
        [msgspec.structs.replace(manifest("a.md"), last=False), manifest("b.md"), X, Y, END],
        {},
        [(("a.md", "b.md"), True)],
        None,
    ),
    "no more than a run may read": (
        [manifest("old.md", "a.md", "b.md", "c.md"), X, Y, END],
        {"known": {"old.md": digest("a")}, "run_files": 2},  # settled: uses nothing up
        [(("a.md", "b.md"), True)],
        None,
    ),
    "what an earlier attempt has read counts": (
        [manifest("a.md", "b.md", "c.md"), Y, END],
        {"settled_paths": ["a.md"], "run_files": 2, "taken": 1},
        [(("b.md",), True)],
        None,
    ),
    "a tree that is settled": (
        [ONLY_TREE, END],
        {"capabilities": PAGED, "tree": TREE.digest},
        [((), True)],
        SettledTree(3),
    ),
    "a tree that is not settled": (
        [ONLY_TREE, manifest("old.md", "a.md", "b.md"), X, Y, END],
        {"capabilities": PAGED, "known": {"old.md": digest("a")}},
        [((), False), (("a.md", "b.md"), True)],
        ReadTree(TREE, {"a.md": digest("a"), "b.md": digest("a")}),
    ),
    # Its files are there: the digest is no claim about them.
    "a tree at the end of a manifest": (
        [msgspec.structs.replace(manifest("a.md"), tree=TREE), X, END],
        {"capabilities": PAGED, "tree": TREE.digest},
        [(("a.md",), True)],
        ReadTree(TREE, {"a.md": digest("a")}),
    ),
    "a file that was left out on purpose belongs to a tree and one that failed does not": (
        [WITH_TREE, skipped(a="not_convertible", b="changed")],
        {"capabilities": PAGED},
        [(("a.md", "b.md"), True)],
        ReadTree(TREE, {"b.md": digest("a")}),
    ),
    "a file did not come": ([WITH_TREE, X, END], {"capabilities": PAGED}, [(("a.md", "b.md"), True)], None),
    "a file is left for the next run": (
        [WITH_TREE, X, END],
        {"capabilities": PAGED, "run_files": 1},
        [(("a.md",), True)],
        None,
    ),
    "a file came in part": (
        [WITH_TREE, X, piece("b.md", "x", 0, 2), END],
        {"capabilities": PAGED},
        [(("a.md", "b.md"), True)],
        None,
    ),
    "the device broke": (
        [WITH_TREE, X, Y, AgentComplete(run_id="r", error="broken")],
        {"capabilities": PAGED},
        [(("a.md", "b.md"), True)],
        None,
    ),
}


@each("case", FETCHED)
async def test_required_files_are_fetched_and_only_a_fully_read_tree_is_reported(case: str) -> None:
    frames, options, fetched, tree = FETCHED[case]
    events, link = await read(*frames, **options)
    assert link.streams[0].fetched == fetched
    trees = [event for event in events if isinstance(event, ReadTree | SettledTree)]
    assert trees == [tree] * (tree is not None) == events[-1:] * (tree is not None)
    assert (LIMITED[0] in unread(events)) == ("run_files" in options)
    if isinstance(tree, SettledTree):
        assert [type(event) for event in events] == [TakenOn, SettledTree]


async def test_listed_count_includes_manifest_files_and_files_skipped_by_the_device() -> None:
    left_out = [SkippedFile(path="b.png", reason="not_convertible"), SkippedFile(path="*", reason="7 more")]
    last = msgspec.structs.replace(END, skipped=left_out)
    first = msgspec.structs.replace(manifest("a.md"), last=False)
    counted: list[tuple[list[RunFrame], list[int | None]]] = [
        ([manifest("a.md"), X, last], [1, 2]),
        ([first, manifest("b.md"), X, Y, END], [None, 2]),
    ]
    for frames, counts in counted:
        events, _ = await read(*frames)
        assert [event.listed for event in events if isinstance(event, SeenUnits)] == counts


PAY = "Date: Tue, 3 Jun 2025 10:00:00 +0200\n\nPay rent"
WEB = Provenance(origin=ProvenanceOrigin.WEB, trusted=False)
MAIL = Provenance(origin=ProvenanceOrigin.MAIL, trusted=False)
OWN = Provenance(origin=ProvenanceOrigin.OWN, trusted=True)


def converted(path: str, mail: bytes) -> FilePiece:
    """A mail as a device that reads mails sends it."""
    text = convert(mail, path=path)
    return FilePiece(path=path, content=text.text, media_type=text.media_type)


def by(author: str) -> Provenance:
    return msgspec.structs.replace(MAIL, author=author)


async def test_saved_mail_or_page_is_untrusted_and_other_files_are_own() -> None:
    sent = b"From: Support <s@deals.example>\nSubject: Bills\n\nFrom: Eve <eve@example.org>\n"
    files = [
        (FilePiece(path="a.html", content="<p>Call Anna</p>"), WEB),
        (FilePiece(path="b.eml", content=f"From: Ann <ann@example.org>\n{PAY}"), by("Ann <ann@example.org>")),
        (FilePiece(path="c.eml", content="Pay rent", media_type="text/plain"), MAIL),
        (FilePiece(path="d.txt", content="Call Anna", media_type="text/html"), WEB),
        (FilePiece(path="e.md", content="Call Anna"), OWN),
        (converted("f.eml", sent), by("Support <s@deals.example>")),
        (converted("g.eml", b"Subject: Bills\n\nPay rent\n\nFrom: Eve <eve@example.org>\n"), MAIL),
    ]
    data = AgentData(run_id="r", files=[file for file, _ in files])
    events, _ = await read(data, END, capabilities=())
    found = {event.unit_key: event.provenance for event in events if isinstance(event, Document)}
    assert found == {file.path: provenance for file, provenance in files}


async def test_parts_left_out_by_a_device_are_known_by_their_outcomes() -> None:
    parts = {"application/pdf encrypted": 2, "VTODO no text": 1, "Pay Bob now": 1, "<b> read": 1, "x": 1}
    counts = [PartCount(name=name, count=count) for name, count in parts.items()]
    piece = FilePiece(path="a.eml", content="Pay rent", media_type="message/rfc822", parts=counts)
    events, _ = await read(AgentData(run_id="r", files=[piece]), END, capabilities=())
    (document,) = [event for event in events if isinstance(event, Document)]
    assert document.parts == {"application/pdf encrypted": 2, "VTODO no text": 1}


async def test_acknowledgement_or_first_frame_yields_a_single_taken_on_event() -> None:
    acknowledged, _ = await read(AgentAck(run_id="r"), manifest(), END)
    silent, _ = await read(manifest(), END)
    empty, _ = await read(END)
    for events in (acknowledged, silent, empty):
        assert [type(event) for event in events].count(TakenOn) == 1
        assert isinstance(events[0], TakenOn)


async def test_html_bytes_of_a_thin_device_are_converted_by_the_hub() -> None:
    html = base64.b64encode(b"<p>Call <b>Anna</b></p><script>no()</script>").decode()
    file = FilePiece(path="a.html", content=html, encoding="base64", media_type="text/html")
    events, _ = await read(AgentData(run_id="r", files=[file]), END, capabilities=())
    text = documents(events)["a.html"]
    assert "Call Anna" in text and "no()" not in text


async def test_base64_pieces_cut_at_any_byte_are_joined() -> None:
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


async def test_unconverted_page_or_mail_of_a_device_is_parsed_by_the_hub() -> None:
    page = FilePiece(path="a.html", content="<p>Call <b>Anna</b></p><p hidden>order</p>")
    letter = "From: Ann <ann@example.org>\nDate: Tue, 3 Jun 2025 10:00:00 +0200\n\nPay rent"
    mail = FilePiece(path="b.eml", content=letter, modified_ms=1)
    cat = FilePiece(path="c.eml", content="Content-Type: image/png; name=cat.png\n\nx", modified_ms=1)
    events, _ = await read(AgentData(run_id="r", files=[page, mail, cat]), END, capabilities=())

    found = {event.unit_key: event for event in events if isinstance(event, Document)}
    assert (found["a.html"].text, found["a.html"].hidden_parts) == ("Call Anna", 1)
    assert found["b.eml"].modified_at == datetime(2025, 6, 3, 8, tzinfo=UTC)
    assert (found["b.eml"].parts, found["c.eml"].parts) == ({}, {"image/png no text": 1})


async def test_each_message_of_an_archive_has_the_author_as_provenance() -> None:
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


def test_place_of_a_document_is_in_the_line_after_the_line_feeds_before_it() -> None:
    document = Document(unit_key="a.md", text="\none\r\n\nzwei drei\n", content_hash="0" * 64)
    lines = {words: document.line_at(document.text.index(words)) for words in ("\n", "one", "drei", "zwei")}
    assert lines == {"\n": 1, "one": 2, "drei": 4, "zwei": 4}


async def test_text_converted_by_the_device_is_used_unchanged() -> None:
    file = FilePiece(path="a.html", content="1 < 2 > 0", media_type="text/html", hidden=3, guessed="cp1251")
    events, _ = await read(AgentData(run_id="r", files=[file]), END)

    (document,) = (event for event in events if isinstance(event, Document))
    assert (document.text, document.hidden_parts, document.guessed) == ("1 < 2 > 0", 3, "cp1251")


async def test_device_gets_the_file_types_readable_by_the_hub() -> None:
    _, link = await read(manifest(), END)

    told = link.streams[0].run.reads
    assert {"text/html", "message/rfc822"} <= set(told)
    assert ("application/pdf" in told) is office.is_installed()


async def test_file_exceeding_the_conversion_time_fails_and_the_next_file_is_read() -> None:
    pytest.importorskip("kreuzberg")
    metrics = Metrics()
    report = base64.b64encode(odd_files.long_pdf(1_500)).decode()
    slow = FilePiece(path="a.pdf", content=report, encoding="base64")
    noise = FilePiece(path="b.bin", content=base64.b64encode(b"\0" * 9).decode(), encoding="base64")
    next_one = FilePiece(path="b.md", content="Pay rent")
    events, _ = await read(
        AgentData(run_id="r", files=[slow, noise, next_one]),
        END,
        metrics=metrics,
        converting=ConvertLimits(seconds=0.3),
    )
    failed = {event.unit_key: event.is_failure for event in events if isinstance(event, UnreadUnit)}
    assert failed == {"a.pdf": True, "b.bin": False}, "only what reaches a limit has failed"
    assert {code for _, code in unread(events)} == {ErrorCode.NOT_CONVERTIBLE}
    assert documents(events) == {"b.md": "Pay rent"}
    assert metrics.registry.get_sample_value("hub_limits_reached_total", {"limit": "convert_seconds"}) == 1


async def test_refused_run_is_busy_or_final_depending_on_the_refusal() -> None:
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


async def test_manifest_entries_beyond_the_file_limit_use_no_memory() -> None:
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


async def test_silent_device_is_stalled_after_the_piece_timeout() -> None:
    with pytest.raises(DeviceStalled):
        await read(capabilities=(), piece_timeout_s=0.01)


def listed(path: str, *, size_bytes: int = 1, modified_ms: int = 0) -> ManifestFile:
    return ManifestFile(path=path, size_bytes=size_bytes, sha256=digest("a"), modified_ms=modified_ms)


def page(*files: ManifestFile, last: bool = True) -> AgentManifest:
    return AgentManifest(run_id="r", files=list(files), last=last)


async def test_files_are_read_in_the_order_untried_first_then_tried_longest_ago() -> None:
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


async def test_only_a_device_with_paged_manifests_is_asked_for_each_page() -> None:
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


async def test_run_reads_up_to_run_bytes_and_reports_the_files_left() -> None:
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
    )
    assert link.streams[0].fetched[-1] == (("a.md", "c.md"), True)
    (told,) = messages(events)
    assert "2 of 4 files are left" in told
    assert "1 of them are larger" in told
    assert unread(events) == [("", ErrorCode.LIMIT_REACHED)]
    assert [event.limit for event in events if isinstance(event, UnreadUnit)] == ["run_bytes"]


async def test_endless_manifest_ends_with_limit_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.runs.sources.MAX_LISTED", 3)
    endless = (page(listed(f"{number}.md"), listed(f"{number}.txt"), last=False) for number in range(100))
    events, link = await read(*endless, capabilities=PAGED)
    assert (link.streams[0].taken, unread(events)) == (2, [("", ErrorCode.LIMIT_REACHED)])
