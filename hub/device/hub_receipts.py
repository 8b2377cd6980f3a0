"""Check of a hub's receipts: signature, numbering, and comparison with the log of sent files.

A receipt whose connection broke is requested at the next one. The comparison reads the log, the receipts that
were kept, and, while the device is connected, what the hub has now: its receipts, its lists of files, and the
entries of its audit log. Without the hub it compares the log with the receipts alone.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from anyio import to_thread

from hub.base.clock import SystemClock, now_ms
from hub.base.log import Channel
from hub.base.name_lists import counted
from hub.device import owner_requests
from hub.device.connection import HubConnection
from hub.device.known_hubs import fingerprint, is_signed
from hub.device.sending_log import MAX_RECEIPTS, MAX_SENT, SendingLog
from hub.device.sent_files import no_log
from protocol.coordination import Method
from protocol.receipts import Receipt, SentFile, digest_of, receipt_text, root_of, sorted_files
from protocol.work import MAX_IDS

log = Channel(__name__)

VERIFY: Final = "hub device log --verify"
NOT_COMPARED: Final = "not_compared"

_EXPECTED: Final = "SELECT id, hub, run_id, first, receipt FROM receipts WHERE at_ms >= ? ORDER BY rowid"
_FILES: Final = "SELECT receipt, path, bytes, sha256 FROM sent WHERE number >= ? AND receipt <> ''"
_UNEXPECTED: Final = (
    "SELECT hub, run_id, count(*) FROM sent WHERE at_ms >= ? AND receipt = '' GROUP BY hub, run_id"
)
_NEWEST: Final = "SELECT coalesce(max(number), 0) FROM sent"
_KNOWN: Final = "SELECT id FROM receipts"
_BEGAN: Final = (
    "SELECT coalesce(min(at_ms), 0) FROM sent WHERE hub = ? HAVING (SELECT min(number) FROM sent) = 1"
)
_COUNTED: Final = "SELECT count(*), coalesce(max({}), 0) FROM {}"
MIN_RETENTION_MS: Final = 86_400_000  # no hub deletes a receipt sooner, whatever it says


class HubAway(Exception):
    """The hub cannot be asked now; ``str()`` gives the reason."""


class ReceiptFinding(msgspec.Struct, frozen=True):
    """Difference between the log and what the hub has or signed, or what could not be compared, and why.

    Attributes:
        kind: missing_at_hub, unknown_to_device, different, root, signature, changed, audit, chain, log, or
            not_compared.
        path: of the file; empty for a receipt as a whole.
    """

    kind: str
    hub: str
    run_id: str
    path: str
    words: str


class ReceiptComparison(msgspec.Struct, frozen=True):
    """Number of files and receipts that were compared, and the findings."""

    files: int
    receipts: int
    differences: list[ReceiptFinding]
    not_compared: list[ReceiptFinding]


class AuditedReceipt(msgspec.Struct, frozen=True):
    """Receipt as the hub has it, with the hash that its entry in the audit log has now."""

    receipt: Receipt
    entry_hash: str | None = None


class _Files(msgspec.Struct, frozen=True):
    id: str
    files: list[SentFile]
    is_whole: bool


class Ask(NamedTuple):
    """Connected hub: its public key, and the function that sends a request. It raises HubAway."""

    hub: str
    request: Callable[[Method, dict[str, Any]], dict[str, Any]]


def is_genuine(receipt: Receipt, hub: str) -> bool:
    """Return True if the *hub* with this public key signed the receipt."""
    with suppress(ValueError):
        return receipt.hub == hub and is_signed(hub, receipt.signature, receipt_text(receipt))
    return False


def hub_at(path: Path) -> Ask | None:
    """Return the hub to which the device with the file at *path* is connected; None: it is not connected."""
    socket = path.with_suffix(owner_requests.SUFFIX)

    def request(method: Method, params: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = owner_requests.ask_hub(socket, method, params)
        except OSError as error:
            raise HubAway(str(error)) from error
        if answer.problem:
            raise HubAway(answer.problem)
        return answer.result

    try:
        return Ask(owner_requests.ask_hub(socket, Method.RECEIPTS_LIST, {"after": 2**53}).hub, request)
    except (OSError, AttributeError):  # no device is connected, or this system has no such sockets
        return None


class ReceiptBook:
    """Keeper of the receipts of one connection. *hub*: public key of the hub."""

    def __init__(self, sending_log: SendingLog, hub: str, on_status: Callable[[str], None]) -> None:
        self._log = sending_log
        self._hub = hub
        self._on_status = on_status

    async def keep(self, receipt: Receipt) -> None:
        """Check and store a receipt, and report one that differs from the log."""
        if not is_genuine(receipt, self._hub):
            log.error("device.receipt.forged", run_id=receipt.run_id)
            self._on_status(f"run {receipt.run_id}: the receipt is not signed by this hub, and not kept")
            return
        try:
            is_same = await to_thread.run_sync(self._log.keep, receipt)
        except sqlite3.Error as error:  # requested again at the next connection
            log.error("device.receipt.not_kept", exc=error)
            return
        if receipt.is_whole and not is_same:
            log.error("device.receipt.differs", run_id=receipt.run_id, files=receipt.files)
            self._on_status(
                f"run {receipt.run_id}: the hub's receipt is about other files than were sent: {VERIFY}"
            )

    async def request_lost(self, line: HubConnection) -> None:
        """Request the receipts that earlier connections did not bring."""
        with suppress(sqlite3.Error, msgspec.ValidationError):
            if ids := await to_thread.run_sync(self._log.lacking, self._hub):
                response = await line.request(Method.RECEIPTS_LIST, {"ids": ids})
                if response is not None and response.result is not None:
                    for listed in msgspec.convert(response.result.get("receipts"), list[AuditedReceipt]):
                        await self.keep(listed.receipt)


class _LoggedReading(NamedTuple):
    """Reading of a run, as the log has it. *receipt*: as it was stored, if it was."""

    id: str
    hub: str
    run_id: str
    files: list[SentFile]
    receipt: Receipt | None

    def find(self, kind: str, words: str, path: str = "") -> ReceiptFinding:
        return ReceiptFinding(kind, self.hub, self.run_id, path, words)


class _AtHub(NamedTuple):
    """Receipts and their lists of files that the connected hub has now, by id.

    *expired_ms*: the hub has deleted older receipts; None: it does not say, as those of earlier releases.
    """

    listed: Mapping[str, AuditedReceipt]
    files: Mapping[str, list[SentFile]]
    expired_ms: int | None

    def has_expired(self, receipt: Receipt) -> bool:
        """Return True if the hub need not have a receipt any more."""
        if self.expired_ms is None:
            return receipt.number < self.ends[0]
        return receipt.at_ms < self.expired_ms

    @property
    def ends(self) -> tuple[int, int]:
        """Numbers of the first and the last receipt; 0 without any."""
        numbers = [entry.receipt.number for entry in self.listed.values()]
        return min(numbers, default=0), max(numbers, default=0)


def compare(path: Path, since_ms: int, ask: Ask | None) -> ReceiptComparison:
    """Compare the log in the device's file at *path* with receipts, and with the hub if it can be asked.

    Raises:
        CodedError: the file has no log that can be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            readings, findings = _readings(db, since_ms)
            known = {id for (id,) in db.execute(_KNOWN)}
            hubs = dict.fromkeys([reading.hub for reading in readings] + ([] if ask is None else [ask.hub]))
            began = {hub: sum(row[0] for row in db.execute(_BEGAN, (hub,))) for hub in hubs}
            findings += _lost_rows(db, next(iter(hubs), ""))
    except sqlite3.Error as error:
        raise no_log(path, error) from error
    compared: list[_LoggedReading] = []
    for hub in hubs:
        mine = [reading for reading in readings if reading.hub == hub]
        at_hub, why = None, "the device is not connected to it"
        if ask is not None and hub == ask.hub:
            try:
                at_hub = _read_hub(ask, mine, since_ms, is_full=len(known) >= MAX_RECEIPTS)
            except (HubAway, msgspec.ValidationError) as error:
                why = str(error)
        if at_hub is None:
            words = f"hub {fingerprint(hub)[:7]}: compared with the receipts that it signed alone: {why}"
            findings.append(ReceiptFinding(NOT_COMPARED, hub, "", "", words))
        for reading in mine:
            now = None if at_hub is None else at_hub.listed.get(reading.id)
            receipt = reading.receipt or (None if now is None else now.receipt)
            if receipt is None:
                why = "the hub has none: it was stopped, or keeps it to itself" if at_hub else "not yet"
                findings.append(
                    reading.find(NOT_COMPARED, f"{counted(len(reading.files), 'file')}: no receipt, {why}")
                )
                continue
            compared.append(reading)
            findings += _compare_receipt(reading, receipt, now, at_hub)
            files = None if now is None or at_hub is None else at_hub.files.get(reading.id)
            findings += _compare_files(reading, receipt, files)
        stored = [reading.receipt for reading in mine if reading.receipt is not None]
        findings += _compare_chain(stored, known, at_hub, 0 if since_ms else began[hub])
    return ReceiptComparison(
        sum(len(compared_reading.files) for compared_reading in compared),
        len(compared),
        [finding for finding in findings if finding.kind != NOT_COMPARED],
        [finding for finding in findings if finding.kind == NOT_COMPARED],
    )


def _readings(db: sqlite3.Connection, since_ms: int) -> tuple[list[_LoggedReading], list[ReceiptFinding]]:
    """Return the readings that expect a receipt, and findings about the others."""
    findings = [
        ReceiptFinding(
            NOT_COMPARED,
            hub,
            run_id,
            "",
            f"{counted(files, 'file')} of run {run_id}: no receipt, the hub gave none",
        )
        for hub, run_id, files in db.execute(_UNEXPECTED, (since_ms,))
    ]
    expected = db.execute(_EXPECTED, (since_ms,)).fetchall()
    (newest,) = db.execute(_NEWEST).fetchone()
    files: dict[str, list[SentFile]] = defaultdict(list)
    for id, *file in db.execute(_FILES, (min((first for _, _, _, first, _ in expected), default=0),)):
        files[id].append((file[0], file[1], file[2]))
    readings: list[_LoggedReading] = []
    for id, hub, run_id, first, spelled in expected:
        reading = _LoggedReading(id, hub, run_id, sorted_files(files[id]), None)
        if first <= newest - MAX_SENT:
            findings.append(reading.find(NOT_COMPARED, "its files are too old for this log"))
            continue
        with suppress(msgspec.MsgspecError, TypeError):  # edited: as if it had not come
            reading = reading._replace(receipt=msgspec.json.decode(spelled, type=Receipt))
        readings.append(reading)
    return readings, findings


def _lost_rows(db: sqlite3.Connection, hub: str) -> Iterator[ReceiptFinding]:
    """Find tables of the log in which rows are missing that are not among the oldest."""
    for table, key, most in (("sent", "number", MAX_SENT), ("receipts", "rowid", MAX_RECEIPTS)):
        count, newest = db.execute(_COUNTED.format(key, table)).fetchone()
        if lost := min(newest, most) - count:
            words = f"{lost} of {lost + count} rows of {table!r} are missing: another program deleted them"
            yield ReceiptFinding("log", hub, "", "", words)


def _read_hub(ask: Ask, readings: Sequence[_LoggedReading], since_ms: int, *, is_full: bool) -> _AtHub:
    """Ask the hub for its receipts since then, for those of the readings, and for their lists of files.

    Args:
        is_full: the device has deleted its oldest receipts, which the hub may have.
    """
    listed: dict[str, AuditedReceipt] = {}
    expired_ms: int | None = None

    def read(**params: Any) -> list[AuditedReceipt]:
        nonlocal expired_ms
        answer = ask.request(Method.RECEIPTS_LIST, params)
        page = msgspec.convert(answer.get("receipts"), list[AuditedReceipt])
        expired_ms = msgspec.convert(answer.get("expired_ms"), int | None)
        listed.update({entry.receipt.id: entry for entry in page})
        return page

    stored = [reading.receipt.number for reading in readings if reading.receipt is not None]
    # The clocks of hub and device may differ, by less than a day.
    since_ms = max(0, since_ms - MIN_RETENTION_MS)
    page = read(after=min(stored) - 1) if is_full and stored else read(since_ms=since_ms)
    while len(page) == MAX_IDS:
        page = read(after=page[-1].receipt.number)
    ids = [reading.id for reading in readings]
    for start in range(0, len(ids), MAX_IDS):
        if missing := [id for id in ids[start : start + MAX_IDS] if id not in listed]:
            read(ids=missing)
    files: dict[str, list[SentFile]] = defaultdict(list)
    waiting = [id for id in ids if id in listed]
    while waiting:
        params = {"ids": waiting[:MAX_IDS], "after": len(files[waiting[0]])}
        found = ask.request(Method.RECEIPTS_GET, params).get("lists")
        for part in msgspec.convert(found, list[_Files]):
            files[part.id] += part.files
            if part.is_whole:
                waiting.remove(part.id)
    if expired_ms is not None:
        expired_ms = min(expired_ms, now_ms(SystemClock()) - MIN_RETENTION_MS)
    return _AtHub(listed, files, expired_ms)


def _compare_receipt(
    reading: _LoggedReading, receipt: Receipt, now: AuditedReceipt | None, at_hub: _AtHub | None
) -> Iterator[ReceiptFinding]:
    """Check the signature of a receipt, and whether the hub still has it as it was signed."""
    which = f"receipt {receipt.number}, {counted(receipt.files, 'file')}"
    if receipt.id != reading.id or not is_genuine(receipt, reading.hub):
        yield reading.find("signature", f"{which}: it is not what the hub signed")
    if now is None and at_hub is not None:
        is_expired = at_hub.has_expired(receipt)
        words = f"{which}: the hub has it no more{', as it is old' if is_expired else ''}"
        yield reading.find(NOT_COMPARED if is_expired else "missing_at_hub", words)
    elif now is not None and now.receipt != receipt:
        yield reading.find("changed", f"{which}: it is another one at the hub now")
    elif now is not None and now.entry_hash not in (None, receipt.entry_hash):
        yield reading.find("audit", f"{which}: entry {receipt.entry} of the audit log is another one now")


def _compare_files(
    reading: _LoggedReading, receipt: Receipt, at_hub: list[SentFile] | None
) -> Iterator[ReceiptFinding]:
    """Compare the files of a reading with those of the hub's list, or with the root alone."""
    mine, listed = set(reading.files), reading.files if at_hub is None else at_hub
    unlike: dict[str, tuple[list[SentFile], list[SentFile]]] = defaultdict(lambda: ([], []))
    for file in mine ^ set(listed):
        unlike[file[0]][file not in mine].append(file)
    is_equal = True
    for path, (logged, at_other) in sorted(unlike.items()):
        kind = "different" if logged and at_other else "missing_at_hub" if logged else "unknown_to_device"
        if kind == "missing_at_hub" and not receipt.is_whole:
            kind = NOT_COMPARED  # under way when the reading ended
        is_equal = is_equal and kind == NOT_COMPARED
        yield reading.find(kind, f"logged: {_spelled(logged)}; at the hub: {_spelled(at_other)}", path)
    if is_equal and root_of(listed) != receipt.root:
        is_open = at_hub is None and not receipt.is_whole  # files may have been under way
        words = (
            f"receipt {receipt.number} is about {counted(receipt.files, 'file')}, {receipt.bytes} bytes; the"
        )
        where = "log" if at_hub is None else "list at the hub"
        words += (
            f" {where} has others: {counted(len(listed), 'file')}, {sum(size for _, size, _ in listed)} bytes"
        )
        yield reading.find(NOT_COMPARED if is_open else "root", words)


def _compare_chain(
    stored: Sequence[Receipt], known: set[str], at_hub: _AtHub | None, began_ms: int
) -> Iterator[ReceiptFinding]:
    """Check that each receipt names the one before it, and that the log expects those of the hub.

    Args:
        began_ms: when the first file was sent to the hub; 0: not known, or later receipts are compared.
    """
    listed = [] if at_hub is None else [now.receipt for now in at_hub.listed.values()]
    for receipt in listed:
        if receipt.id not in known:
            words = f"receipt {receipt.number}, {counted(receipt.files, 'file')}"
            yield ReceiptFinding("unknown_to_device", receipt.hub, receipt.run_id, "", words)
    chain = sorted({receipt.id: receipt for receipt in [*stored, *listed]}.values(), key=_place)
    if began_ms and at_hub is not None and at_hub.expired_ms is not None and chain and chain[0].number > 1:
        is_young = began_ms >= at_hub.expired_ms
        words = f"the first receipt is {chain[0].number}: those before it "
        words += (
            "are missing, and none was old enough to expire" if is_young else "have expired, or are missing"
        )
        yield ReceiptFinding("chain" if is_young else NOT_COMPARED, chain[0].hub, chain[0].run_id, "", words)
    for first, second in pairwise(chain):
        if second.previous != digest_of(first):
            is_gap = at_hub is None and second.number > first.number + 1
            words = f"receipt {second.number} does not follow receipt {first.number} of run {first.run_id}"
            words += ": the hub was restored from a backup in between, or receipts are missing"
            yield ReceiptFinding(NOT_COMPARED if is_gap else "chain", second.hub, second.run_id, "", words)
    if at_hub is not None and stored and at_hub.ends[1] < (last := max(stored, key=_place)).number:
        words = f"the hub's receipts end with {at_hub.ends[1]}, and it signed {last.number}"
        words += ": it was restored from a backup, or deleted some"
        yield ReceiptFinding("chain", last.hub, last.run_id, "", words)


def _place(receipt: Receipt) -> tuple[int, int]:
    return receipt.number, receipt.at_ms


def _spelled(files: Sequence[SentFile]) -> str:
    return ", ".join(f"{size} bytes, SHA-256 {sha256[:12]}" for _, size, sha256 in files) or "none"
