"""Receipts at a device: what it keeps, what it states, and what its log is compared with."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from hub.base.clock import IdFactory, SystemClock, epoch_ms
from hub.device import hub_receipts, sending_log
from hub.device.credentials import DeviceIdentity
from hub.device.device_file import open_device_store
from hub.device.hub_receipts import Ask, AuditedReceipt, HubAway, ReceiptBook, ReceiptComparison, compare
from hub.device.known_hubs import is_signed
from hub.device.sending_log import SendingLog, SendingOrder, open_sending_log
from protocol import keys
from protocol.coordination import Method
from protocol.receipts import Receipt, SentFile, digest_of, receipt_text, root_of, sent_text
from protocol.work import AgentComplete, AgentData, RunMode
from tests.hub.device.test_folder import Desk, desk, open_desk
from tests.support.clock import FakeClock, SeededChance

__all__ = ["desk", "open_desk"]  # fixtures
pytestmark = pytest.mark.anyio

HUB = DeviceIdentity(Ed25519PrivateKey.from_private_bytes(bytes(32)))  # a hub has a key of the same kind
KEY = keys.encode(HUB.public_key)
FILES = [("n/a.md", 3, "a" * 64), ("n/b.md", 4, "b" * 64)]


def signed(receipt: Receipt) -> Receipt:
    return replace(receipt, signature=HUB.sign(receipt_text(receipt)))


def receipt_of(
    number: int, files: Sequence[SentFile] = FILES, *, before: Receipt | None = None, is_whole: bool = True
) -> Receipt:
    """The receipt of a reading that has the number as its id."""
    return signed(
        Receipt(
            id=f"q-{number}",
            hub=KEY,
            device_id="d",
            run_id=f"r-{number}",
            number=number,
            at_ms=number,
            files=len(files),
            bytes=sum(size for _, size, _ in files),
            root=root_of(files),
            is_whole=is_whole,
            previous="" if before is None else digest_of(before),
            entry=number,
            entry_hash="e" * 64,
            signature="",
        )
    )


class Desktop:
    """The file of a device, and the sentences for its owner."""

    def __init__(self, file: Path, log: SendingLog) -> None:
        self.file = file
        self.log = log
        self.told: list[str] = []
        self.book = ReceiptBook(log, KEY, self.told.append)

    async def has(self, receipt: Receipt | None, number: int = 1, files: Sequence[SentFile] = FILES) -> None:
        """The device has sent files, and has the receipt."""
        self.log.sent(SendingOrder(KEY, f"r-{number}", "a", "rules", f"q-{number}"), files)
        if receipt is not None:
            await self.book.keep(receipt)

    def compare(
        self, *at_hub: tuple[Receipt, Sequence[SentFile]], since_ms: int = 0, expired_ms: int | None = None
    ) -> ReceiptComparison:
        """The comparison with a hub that has these receipts with their lists."""
        return compare(self.file, since_ms, Ask(KEY, ReceiptPages(at_hub, expired_ms)))


class ReceiptPages:
    """Pages of receipts and of their files as a hub returns them: two files in each."""

    def __init__(
        self, at_hub: Sequence[tuple[Receipt, Sequence[SentFile]]], expired_ms: int | None = None
    ) -> None:
        self._expired_ms = expired_ms
        self._at_hub = {receipt.id: (receipt, list(files)) for receipt, files in at_hub}

    def __call__(self, method: Method, params: dict[str, Any]) -> dict[str, Any]:
        ids = params.get("ids", self._at_hub)
        if method is Method.RECEIPTS_LIST:
            found = [AuditedReceipt(self._at_hub[id][0], "e" * 64) for id in ids if id in self._at_hub]
            page = [
                one
                for one in found
                if one.receipt.number > params.get("after", 0)
                and one.receipt.at_ms >= params.get("since_ms", 0)
            ]
            return {"receipts": msgspec.to_builtins(page), "expired_ms": self._expired_ms}
        files, after = self._at_hub[ids[0]][1], params["after"]
        part = {"id": ids[0], "files": files[after : after + 2], "is_whole": after + 2 >= len(files)}
        return {"lists": [part]}


@pytest.fixture
def desktop(tmp_path: Path, clock: FakeClock) -> Iterator[Desktop]:
    file = tmp_path / "desk.db"
    with (
        open_device_store(file, clock=clock, ids=IdFactory(clock, SeededChance())),
        open_sending_log(file, clock) as log,
    ):
        yield Desktop(file, log)


def kinds(found: ReceiptComparison) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in found.differences]


async def test_device_statement_is_signed_and_covers_the_sent_files(desk: Desk) -> None:
    desk.write(a="one", b="two")
    desk.library.sign = lambda text: (KEY, HUB.sign(text))
    desk.run(RunMode.STREAM, receipt="q-1")
    frames = await desk.hear_all()
    (files,) = [frame.files for frame in frames if isinstance(frame, AgentData)]
    end = frames[-1]
    assert isinstance(end, AgentComplete) and end.sent is not None
    expected = [(file.path, len(file.content), file.sha256 or "") for file in files]
    assert (end.sent.files, end.sent.bytes, end.sent.root) == (2, 6, root_of(expected))
    assert is_signed(KEY, end.sent.signature or "", sent_text("key", "q-1", end.sent))


async def test_forged_receipt_is_dropped_and_a_receipt_about_other_files_is_reported(
    desktop: Desktop,
) -> None:
    await desktop.has(replace(receipt_of(1), files=3))
    assert "not signed by this hub" in desktop.told[-1] and desktop.log.lacking(KEY) == ["q-1"]
    await desktop.book.keep(receipt_of(1, FILES[:1]))
    assert "other files than were sent" in desktop.told[-1] and desktop.log.lacking(KEY) == []
    assert kinds(desktop.compare((receipt_of(1, FILES[:1]), FILES[:1]))) == [("missing_at_hub", "n/b.md")]


async def test_files_without_a_receipt_are_not_compared_and_no_difference(desktop: Desktop) -> None:
    desktop.log.sent(SendingOrder(KEY, "r-0", "a", "rules"), FILES)  # to a hub that knew no receipts
    await desktop.has(None)
    found = desktop.compare()
    assert [(one.run_id, one.words.partition(",")[0]) for one in found.not_compared] == [
        ("r-0", "2 files of run r-0: no receipt"),
        ("r-1", "2 files: no receipt"),
    ]
    assert (found.files, found.differences) == (0, [])
    found = desktop.compare((receipt_of(1), FILES))  # the hub has it, and the device does not yet
    assert (found.files, found.differences) == (2, [])


async def test_receipt_comparison_ignores_an_unfinished_file_and_finds_an_edited_list(
    desktop: Desktop,
) -> None:
    part = receipt_of(1, FILES[:1], is_whole=False)
    await desktop.has(part)
    found = desktop.compare((part, FILES[:1]))
    assert ([one.path for one in found.not_compared], found.differences) == (["n/b.md"], [])
    assert kinds(desktop.compare((part, []))) == [("root", "")]
    alone = compare(desktop.file, 0, None)
    assert (alone.differences, len(alone.not_compared)) == ([], 2)


async def test_receipt_comparison_finds_each_difference_in_paged_file_lists(desktop: Desktop) -> None:
    files = [(f"n/{number}.md", number, "c" * 64) for number in range(5)]
    receipt = receipt_of(1, files)
    await desktop.has(receipt, files=files)
    assert desktop.compare((receipt, files)).differences == []
    edited = [files[0], ("n/1.md", 9, "c" * 64), *files[3:], ("n/x.md", 1, "c" * 64)]
    assert kinds(desktop.compare((receipt, edited))) == [
        ("different", "n/1.md"),
        ("missing_at_hub", "n/2.md"),
        ("unknown_to_device", "n/x.md"),
    ]


async def test_receipt_comparison_finds_gap_fork_and_early_end_of_the_chain(desktop: Desktop) -> None:
    first = receipt_of(1)
    second = receipt_of(2, before=first)
    third = receipt_of(3, before=second)
    for number, receipt in enumerate((first, second, third), 1):
        await desktop.has(receipt, number)
    every = [(receipt, FILES) for receipt in (first, second, third)]
    assert desktop.compare(*every).differences == []
    assert kinds(desktop.compare(*every[:2])) == [("missing_at_hub", ""), ("chain", "")]
    fork = signed(replace(receipt_of(2, before=first), id="q-9", at_ms=9))
    assert ("unknown_to_device", "") in kinds(desktop.compare(*every, (fork, FILES)))
    await desktop.book.keep(fork)
    assert [one.kind for one in compare(desktop.file, 0, None).differences] == ["root", "chain", "chain"]
    with closing(sqlite3.connect(desktop.file)) as db, db:
        db.execute("DELETE FROM receipts WHERE id IN ('q-2', 'q-9')")
    assert [one.kind for one in compare(desktop.file, 0, None).differences] == ["log"]
    assert ("unknown_to_device", "") in kinds(desktop.compare(*every))


DAY_MS = 86_400_000


async def test_receipts_missing_at_the_hub_are_differences_unless_expired(
    desktop: Desktop, clock: FakeClock
) -> None:
    now = epoch_ms(clock.now())
    chain: list[Receipt] = []
    for number in range(1, 59):
        before = chain[-1] if chain else None
        chain.append(signed(replace(receipt_of(number, before=before), at_ms=now)))
        await desktop.has(chain[-1], number)
    last = (chain[-1], FILES)
    for expired_ms, differences in ((0, 57), (now - DAY_MS, 57), (now, 57), (now + 1, 0), (None, 0)):
        found = desktop.compare(last, expired_ms=expired_ms)
        assert kinds(found) == [("missing_at_hub", "")] * differences
        assert sum("as it is old" in one.words for one in found.not_compared) == 57 - differences
    today = epoch_ms(SystemClock().now())
    recent = signed(replace(receipt_of(1), at_ms=today))
    await desktop.book.keep(recent)
    found = desktop.compare(last, expired_ms=2**53)  # no hub deletes one of today
    assert ("missing_at_hub", "r-1") in [(one.kind, one.run_id) for one in found.differences]


async def test_deleted_rows_of_the_device_log_are_differences(desktop: Desktop, clock: FakeClock) -> None:
    now = epoch_ms(clock.now())
    first = signed(replace(receipt_of(1), at_ms=now))
    second = signed(replace(receipt_of(2, before=first), at_ms=now))
    await desktop.has(first, 1)
    await desktop.has(second, 2)
    every = [(first, FILES), (second, FILES)]
    assert desktop.compare(*every, since_ms=now, expired_ms=0).differences == []
    with closing(sqlite3.connect(desktop.file)) as db, db:
        db.execute("DELETE FROM receipts WHERE id = 'q-1'")
    assert kinds(compare(desktop.file, now, None)) == [("log", "")]
    found = desktop.compare(*every, since_ms=now, expired_ms=0)
    assert kinds(found) == [("log", ""), ("unknown_to_device", "")]
    found = desktop.compare(every[1], expired_ms=0)  # both sides lack it
    assert kinds(found) == [("log", ""), ("chain", "")]
    assert "none was old enough to expire" in found.differences[1].words
    with closing(sqlite3.connect(desktop.file)) as db, db:
        db.execute("DELETE FROM sent WHERE receipt = 'q-1'")
    words = [one.words for one in compare(desktop.file, now, None).differences]
    assert words == [
        f"{rows} are missing: another program deleted them"
        for rows in ("2 of 4 rows of 'sent'", "1 of 2 rows of 'receipts'")
    ]


async def test_reading_older_than_the_sending_log_is_not_compared(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sending_log, hub_receipts):
        monkeypatch.setattr(module, "MAX_SENT", 3)
    first = receipt_of(1)
    second = receipt_of(2, before=first)
    await desktop.has(first, 1)
    await desktop.has(second, 2)
    found = desktop.compare((first, FILES), (second, FILES))
    assert [one.run_id for one in found.not_compared] == ["r-1"]
    assert (found.files, found.differences) == (2, [])


async def test_receipt_comparison_without_hub_answers_uses_only_the_stored_receipts(desktop: Desktop) -> None:
    def refuse(method: Method, params: dict[str, Any]) -> dict[str, Any]:
        raise HubAway("the hub did not answer")

    await desktop.has(receipt_of(1))
    found = compare(desktop.file, 0, Ask(KEY, refuse))
    assert (found.files, found.differences) == (2, [])
    assert found.not_compared[0].words.endswith("alone: the hub did not answer")
