"""Receipts of hubs: kept as they arrive, and compared with the log of what was sent.

A receipt whose connection broke is requested at the next one. The comparison reads the log, the receipts that
were kept, and, while the device is connected, what the hub has now: its receipts, its lists of files, and the
entries of its audit log. Without the hub it compares the log with the receipts alone.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from anyio import to_thread

from hub.device import pages
from hub.device.connection import Line
from hub.device.credentials import fingerprint, is_signed
from hub.device.sending_log import MOST_SENT, SendingLog, no_log
from hub.log import Channel
from protocol.coordination import Method
from protocol.receipts import (
    MOST_IDS,
    Receipt,
    SentFile,
    digest_of,
    receipt_text,
    root_of,
    sorted_files,
)

log = Channel(__name__)

VERIFY: Final = "hub device log --verify"

_VISITS: Final = "SELECT id, hub, run_id, first, receipt FROM receipts WHERE at_ms >= ? ORDER BY rowid"
_ROWS: Final = "SELECT receipt, path, bytes, sha256 FROM sent WHERE number >= ? AND receipt <> ''"
_UNPROMISED: Final = (
    "SELECT hub, count(*), count(DISTINCT run_id) FROM sent WHERE at_ms >= ? AND receipt = '' GROUP BY hub"
)
_NEWEST: Final = "SELECT coalesce(max(number), 0) FROM sent"
_KNOWN: Final = "SELECT id FROM receipts"


class HubAway(Exception):
    """The hub cannot be asked now; ``str()`` gives the reason."""


class Difference(msgspec.Struct, frozen=True):
    """Difference between the log and what the hub has or signed.

    Attributes:
        kind: missing_at_hub, unknown_to_device, different, root, signature, changed, audit or chain.
        path: of the file; empty for a receipt as a whole.
    """

    kind: str
    hub: str
    run_id: str
    path: str
    words: str


class Comparison(msgspec.Struct, frozen=True):
    """Result of a comparison. *left_out*: sentences about what could not be compared, and why."""

    files: int
    receipts: int
    differences: list[Difference]
    left_out: list[str]


class Listed(msgspec.Struct, frozen=True):
    """Receipt as the hub has it, with the hash that its entry in the audit log has now."""

    receipt: Receipt
    entry_hash: str | None = None


class _Page(msgspec.Struct, frozen=True):
    receipts: list[Listed]
    oldest: int
    newest: int


class _Files(msgspec.Struct, frozen=True):
    id: str
    files: list[SentFile]
    is_whole: bool


class _FilePage(msgspec.Struct, frozen=True):
    lists: list[_Files]


class Ask(NamedTuple):
    """Connected hub: its public key, and the function that sends a request. It raises HubAway."""

    hub: str
    request: Callable[[Method, dict[str, Any]], object]


def is_genuine(receipt: Receipt, hub: str) -> bool:
    """Return True if the *hub* with this public key signed the receipt."""
    with suppress(ValueError):
        return receipt.hub == hub and is_signed(hub, receipt.signature, receipt_text(receipt))
    return False


def hub_at(path: Path) -> Ask | None:
    """Return the hub to which the device with the file at *path* is connected; None: it is not connected."""
    socket = path.with_suffix(pages.SUFFIX)

    def request(method: Method, params: dict[str, Any]) -> object:
        try:
            reply = pages.ask_hub(socket, method, params)
        except OSError as error:
            raise HubAway(str(error)) from error
        if reply.result is None:
            raise HubAway(reply.problem)
        return reply.result

    try:
        return Ask(pages.ask_hub(socket, Method.RECEIPTS_LIST, {"after": 2**53}).hub, request)
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

    async def request_lost(self, line: Line) -> None:
        """Request the receipts that earlier connections did not bring."""
        with suppress(sqlite3.Error, msgspec.ValidationError):
            if ids := await to_thread.run_sync(self._log.lacking, self._hub):
                response = await line.request(Method.RECEIPTS_LIST, {"ids": ids})
                if response is not None and response.result is not None:
                    for listed in msgspec.convert(response.result, _Page).receipts:
                        await self.keep(listed.receipt)


class _Reading(NamedTuple):
    """Reading of a run, as the log has it. *receipt*: as it was kept, if it was."""

    id: str
    hub: str
    run_id: str
    files: list[SentFile]
    is_pruned: bool
    receipt: Receipt | None


class _AtHub:
    """Receipts and lists that the connected hub has now."""

    def __init__(self, ask: Ask, readings: Sequence[_Reading], since_ms: int) -> None:
        self._ask = ask
        stored = [one.receipt.number for one in readings if one.receipt is not None]
        self.found: dict[str, Listed] = {}
        self.oldest = self.newest = 0
        after, since = (min(stored) - 1, 0) if stored else (0, since_ms)
        while True:
            page = self._list(after=after, since_ms=since)
            if len(page) < MOST_IDS:
                break
            after = page[-1].receipt.number
        others = [one.id for one in readings if one.id not in self.found]
        for start in range(0, len(others), MOST_IDS):
            self._list(ids=others[start : start + MOST_IDS])
        self.files = self._files([one.id for one in readings if one.id in self.found])

    def _list(self, **params: Any) -> list[Listed]:
        page = msgspec.convert(self._ask.request(Method.RECEIPTS_LIST, params), _Page)
        self.oldest, self.newest = page.oldest, page.newest
        self.found |= {listed.receipt.id: listed for listed in page.receipts}
        return page.receipts

    def _files(self, ids: Sequence[str]) -> Mapping[str, list[SentFile]]:
        lists: dict[str, list[SentFile]] = defaultdict(list)
        waiting = list(ids)
        while waiting:
            params = {"ids": waiting[:MOST_IDS], "after": len(lists[waiting[0]])}
            for part in msgspec.convert(self._ask.request(Method.RECEIPTS_GET, params), _FilePage).lists:
                lists[part.id] += part.files
                if part.is_whole:
                    waiting.remove(part.id)
        return lists


def compare(path: Path, since_ms: int, ask: Ask | None) -> Comparison:
    """Compare the log in the device's file at *path* with receipts, and with the hub if it can be asked.

    Raises:
        CodedError: the file has no log that can be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            readings = list(_readings(db, since_ms))
            known = {id for (id,) in db.execute(_KNOWN)}
            unpromised = db.execute(_UNPROMISED, (since_ms,)).fetchall()
    except sqlite3.Error as error:
        raise no_log(path, error) from error
    comparing = _Comparing()
    for hub, files, runs in unpromised:
        comparing.leave_out(
            f"{files} files of {runs} runs: no receipt; the hub {fingerprint(hub)[:7]} gave none then"
        )
    by_hub: dict[str, list[_Reading]] = defaultdict(list)
    for reading in readings:
        by_hub[reading.hub].append(reading)
    if ask is not None:
        by_hub[ask.hub]  # also of a hub of which the log has nothing
    for hub, mine in by_hub.items():
        at_hub: _AtHub | None = None
        why = "the device is not connected to it"
        if ask is not None and hub == ask.hub:
            try:
                at_hub = _AtHub(ask, mine, since_ms)
            except (HubAway, msgspec.ValidationError) as error:
                why = str(error)
        if at_hub is None:
            who = fingerprint(hub)[:7]
            comparing.leave_out(f"hub {who}: compared with the receipts that it signed alone: {why}")
        comparing.compare(mine, known, at_hub)
    return Comparison(comparing.files, comparing.receipts, comparing.differences, comparing.left_out)


def _readings(db: sqlite3.Connection, since_ms: int) -> Iterator[_Reading]:
    visits = db.execute(_VISITS, (since_ms,)).fetchall()
    rows: dict[str, list[SentFile]] = defaultdict(list)
    for id, *file in db.execute(_ROWS, (min((first for _, _, _, first, _ in visits), default=0),)):
        rows[id].append((file[0], file[1], file[2]))
    (newest,) = db.execute(_NEWEST).fetchone()
    for id, hub, run_id, first, spelled in visits:
        receipt: Receipt | None = None
        with suppress(msgspec.MsgspecError, TypeError):  # edited: as if it had not come
            receipt = msgspec.json.decode(spelled, type=Receipt)
        yield _Reading(id, hub, run_id, sorted_files(rows[id]), first <= newest - MOST_SENT, receipt)


class _Comparing:
    """Comparison in progress."""

    def __init__(self) -> None:
        self.files = self.receipts = 0
        self.differences: list[Difference] = []
        self.left_out: list[str] = []

    def leave_out(self, sentence: str) -> None:
        self.left_out.append(sentence)

    def compare(self, readings: Sequence[_Reading], known: set[str], at_hub: _AtHub | None) -> None:
        """Compare the readings of one hub. *known*: ids of all receipts that the log expects or has."""
        listed: Mapping[str, Listed] = {} if at_hub is None else at_hub.found
        here = [one for one in readings if not one.is_pruned]
        if len(here) < len(readings):
            self.leave_out(f"{len(readings) - len(here)} readings: their files are too old for this log")
        for reading in here:
            now = listed.get(reading.id)
            receipt = reading.receipt or (None if now is None else now.receipt)
            if receipt is None:
                why = "the hub has none: it was stopped, or keeps it to itself" if at_hub else "not yet"
                counted = f"{len(reading.files)} files of run {reading.run_id}"
                self.leave_out(f"{counted}: no receipt, {why}")
                continue
            self.receipts += 1
            self.files += len(reading.files)
            self._check(reading, receipt, at_hub, now)
            self._check_files(reading, receipt, None if at_hub is None else at_hub.files.get(reading.id))
        stored = sorted((one.receipt for one in readings if one.receipt is not None), key=_place)
        for one in (now.receipt for now in listed.values() if now.receipt.id not in known):
            if stored and one.number < stored[0].number:
                self.leave_out(f"receipt {one.number} of run {one.run_id}: from before this log")
            else:
                self._differ("unknown_to_device", one, f"receipt {one.number}, {one.files} files")
        self._check_chain([*stored, *(now.receipt for now in listed.values())], at_hub)
        if at_hub is not None and stored and at_hub.newest < stored[-1].number:
            words = f"the hub's receipts end with {at_hub.newest}, and it signed {stored[-1].number}"
            self._differ("chain", stored[-1], f"{words}: it was restored from a backup, or deleted some")

    def _check(self, reading: _Reading, receipt: Receipt, at_hub: _AtHub | None, now: Listed | None) -> None:
        """Check the signature of a receipt, and whether the hub still has it as it was signed."""
        if receipt.id != reading.id or not is_genuine(receipt, reading.hub):
            self._differ("signature", receipt, f"receipt {receipt.number} is not what the hub signed")
        if now is None:
            if at_hub is not None and receipt.number >= at_hub.oldest:
                counted = f"receipt {receipt.number}, {receipt.files} files"
                self._differ("missing_at_hub", receipt, f"{counted}: the hub has it no more")
            elif at_hub is not None:
                self.leave_out(f"receipt {receipt.number}: the hub keeps it no longer")
            return
        if now.receipt != receipt:
            self._differ("changed", receipt, f"receipt {receipt.number} is another one at the hub now")
        if now.entry_hash not in (None, receipt.entry_hash):
            self._differ("audit", receipt, f"entry {receipt.entry} of the hub's audit log is another one now")

    def _check_files(self, reading: _Reading, receipt: Receipt, at_hub: Sequence[SentFile] | None) -> None:
        """Compare the files of a reading with those of the hub's list, or with the root alone."""
        before, under_way = len(self.differences), 0
        listed = reading.files if at_hub is None else at_hub
        for path, mine, theirs in _unlike(reading.files, listed):
            if not theirs and not receipt.is_whole:
                under_way += len(mine)
            elif not theirs:
                self._differ("missing_at_hub", receipt, _spelled(mine), path)
            elif not mine:
                self._differ("unknown_to_device", receipt, _spelled(theirs), path)
            else:
                words = f"{_spelled(mine)} here, {_spelled(theirs)} at the hub"
                self._differ("different", receipt, words, path)
        if under_way:
            self.leave_out(f"{under_way} files of run {receipt.run_id}: under way when the reading ended")
        if len(self.differences) > before or root_of(listed) == receipt.root:
            return
        if at_hub is None and not receipt.is_whole:
            self.leave_out(f"{len(reading.files)} files of run {receipt.run_id}: the reading did not end")
            return
        size = sum(size for _, size, _ in listed)
        words = f"receipt {receipt.number} has {receipt.files} files, {receipt.bytes} bytes; the"
        where = "log" if at_hub is None else "list at the hub"
        self._differ("root", receipt, f"{words} {where} has others: {len(listed)} files, {size} bytes")

    def _check_chain(self, receipts: Iterable[Receipt], at_hub: _AtHub | None) -> None:
        """Check that each receipt names the one before it."""
        chain = sorted({one.id: one for one in receipts}.values(), key=_place)
        for first, second in pairwise(chain):
            if second.number == first.number:
                words = f"it signed receipt {first.number} also for run {first.run_id}: it was restored from"
                self._differ("chain", second, f"{words} a backup in between")
            elif second.number > first.number + 1:
                missing = f"receipts {first.number + 1} to {second.number - 1} are not here"
                if at_hub is None:
                    self.leave_out(missing)
                else:
                    self._differ("chain", second, f"{missing}, nor at the hub")
            elif second.previous != digest_of(first):
                words = f"receipt {second.number} does not follow receipt {first.number}"
                self._differ("chain", second, words)

    def _differ(self, kind: str, receipt: Receipt, words: str, path: str = "") -> None:
        self.differences.append(Difference(kind, receipt.hub, receipt.run_id, path, words))


def _place(receipt: Receipt) -> tuple[int, int]:
    return receipt.number, receipt.at_ms


def _unlike(
    logged: Sequence[SentFile], listed: Sequence[SentFile]
) -> Iterator[tuple[str, list[SentFile], list[SentFile]]]:
    """Yield each path whose files differ, with those of either side alone."""
    by_path: dict[str, tuple[list[SentFile], list[SentFile]]] = defaultdict(lambda: ([], []))
    common = set(logged) & set(listed)
    for side, files in enumerate((logged, listed)):
        for file in files:
            if file not in common:
                by_path[file[0]][side].append(file)
    yield from ((path, *sides) for path, sides in sorted(by_path.items()))


def _spelled(files: Sequence[SentFile]) -> str:
    return ", ".join(f"{size} bytes, SHA-256 {sha256[:12]}" for _, size, sha256 in files)
