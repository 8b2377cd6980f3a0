"""Simulated device: a folder, a durable store of rows and answers, and an app that starts and stops.

The store guarantees one property: a row and the answer that reports it are written together, and a repeated
call is answered from the store. Everything else is as unreliable as the dice decide.
"""

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from hub.device import review_calls, rows, schema, verdicts
from hub.device.rows import CallRefusal
from protocol.coordination import Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Frame, Record, Scalar
from protocol.handshake import Goodbye, HeldRun, StoreMark, Welcome
from protocol.ids import CallId, DeviceId
from protocol.owner_grants import OwnerGrant, refused_by_owner
from protocol.session import Answered, AnsweredTogether
from protocol.skipped_files import SkippedFile
from protocol.tables import TABLES, TableName
from protocol.tool_calls import Action, Answer, ToolCall, ToolCalls
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    FilePiece,
    ManifestFile,
    ManifestTree,
)
from tests.simulation.dice import Dice
from tests.simulation.files import REFUSED_WORD, Edition, Folder, line_of, tree_of
from tests.simulation.memory import Memory, Row, Undoable
from tests.simulation.wire import Wire

TASKS: Final = TABLES[TableName.TASKS]
AT_MS: Final = 0  # of every change: a stamp does not count as one


def apply_review(memory: Memory, call: ToolCall) -> Answer:
    """Apply a verdict to its row, and return the answer of the device."""
    row_id = str(call.where.get("id"))
    row = memory.find(row_id)
    written = row or next((gone for gone in memory.removed if gone.row_id == row_id), None)
    db = _file()
    db.execute("BEGIN")
    try:
        if written is not None:
            _write(db, written, is_there=row is not None, saved=memory.undoable.get(row_id))
        try:
            result = review_calls.apply(db, TASKS, call, AT_MS, hub="")
        except CallRefusal as refusal:
            return Answer(error=ErrorBody(code=refusal.code, message=str(refusal)))
        assert written is not None
        after = rows.find(db, TASKS, row_id)
        saved = db.execute("SELECT call_id, before, after FROM remote_reviews").fetchone()
    finally:
        db.execute("ROLLBACK")
    memory.put(None if after is None else _read(after, written), row_id)
    memory.undoable.pop(row_id, None)
    if saved is not None:
        memory.undoable[row_id] = Undoable(*saved)
    memory.count(written.call_id)
    return Answer(result=result, counter=memory.counter)


@cache
def _file() -> sqlite3.Connection:
    """Return an empty file of a device, in memory; it is empty again after each verdict."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for statement in (*schema.statements(), review_calls.CREATE, review_calls.CREATE_PROPOSALS):
        db.execute(statement)
    return db


def _write(db: sqlite3.Connection, row: Row, *, is_there: bool, saved: Undoable | None) -> None:
    """Write a row as the hub wrote it, then as its owner left it."""
    rows.insert(db, TASKS, row.row_id, {"title": row.title}, AT_MS)
    verdicts.note_written(db, TASKS, row.row_id, rows.find(db, TASKS, row.row_id), row.call_id)
    owned: Record = {"description": row.note, "isApproved": int(row.is_approved)}
    if not is_there:
        rows.delete(db, TASKS, row.row_id)
    elif row.state != "open":
        rows.update(db, TASKS, row.row_id, owned, AT_MS)
    if saved is not None:
        db.execute(
            "INSERT INTO remote_reviews VALUES (?, ?, ?, ?, ?, ?)", (TASKS.name, row.row_id, *saved, AT_MS)
        )


def _read(record: Record, written: Row) -> Row:
    note = record["description"]
    assert note is None or isinstance(note, str)
    return replace(written, note=note, is_approved=bool(record["isApproved"]))


MODERN: Final = frozenset(
    {"agent_manifest", "agent_data.credit", "agent_ack", "agent.wake", "rows.list", "rows.known"}
    | {"tool.insert", "tool.update"}
)
PAGING: Final = MODERN | {"agent_manifest.pages"}  # a device that sends a digest of its whole manifest too
BATCHING: Final = PAGING | {"tool_calls"}
LATE_S: Final = 600.0  # so late, at most, a frozen hub answers a hello
REDIAL_S: Final = (0.2, 6.0)  # until the next attempt to connect
AT_ONCE_S: Final = (0.01, 0.4)  # the same for an app that is started again at once
HELD_S: Final = (0.5, 3.0)  # so long an app that is about to die answers no call, twice
ANSWERED_S: Final = 0.05  # until the death, in which most of its last answers arrive
REPORT_S: Final = 3.0  # until a report is repeated that its hub could not take
FIRST_DAYS: Final = frozenset[str]()  # a device that sends everything at once and knows no credit


@dataclass(slots=True)
class Habits:
    """Probabilities of misbehaviour."""

    busy: float = 0.02  # of all runs are not taken on, for now
    stalls: float = 0.005  # of all runs are begun and forgotten
    silent: float = 0.006  # of all calls are done and not answered
    fails: float = 0.01  # of all calls cannot be done just now
    late: float = 0.006  # of all answers come after the deadline
    leftovers: float = 0.3  # of all interrupted runs send on after the next connection
    judged: float = 0.15  # of all calls bring its owner to look at the rows

    def mend(self) -> None:
        """Stop all misbehaviour; the owner rejects nothing more."""
        self.busy = self.stalls = self.silent = self.fails = self.late = self.leftovers = self.judged = 0.0


class Review(NamedTuple):
    """Verdict that a hub brought, the row before and after it, and the answer."""

    call: ToolCall
    before: Row | None
    after: Row | None
    answer: Answer


class SimDevice:
    """Simulated device with one store.

    Args:
        dial: finds a hub and connects to it, or returns None.
        redial_s: range of the seconds until the next attempt.
        on_row: called before a row is written.
        on_review: called after a verdict that a hub brought was applied or refused.
        on_decision: called with a row about which its owner decides at the device.
    """

    def __init__(
        self,
        device_id: DeviceId,
        *,
        dice: Dice,
        capabilities: frozenset[str],
        context: contextvars.Context,
        dial: "Callable[[SimDevice], Wire | None]",
        redial_s: tuple[float, float] = REDIAL_S,
        on_row: "Callable[[SimDevice, Row], None]",
        on_review: "Callable[[SimDevice, Review], None]",
        on_decision: "Callable[[SimDevice, Row], None]",
    ) -> None:
        self.id = device_id
        self.capabilities = capabilities
        self.context = context
        self.folder = Folder(device_id, dice.fork("folder"))
        self.memory = Memory()
        self.rows_made = 0
        self.stores = 0  # how many ids it has given to its store
        self.rename_store()
        self.habits = Habits()
        self.dice = dice
        self.is_wanted = True  # whether it is to be connected
        self.is_welcome = False
        self.dies_in = 0  # inserts until it dies in the middle of one; 0: never
        self.dies_answering = (
            False  # after the next calls, with some of them answered; then it is back at once
        )
        self.crashes = 0
        self.sent_away = 0
        self._unanswered_until = 0.0  # a hello that is answered late replaces the connection made after it
        self.calls = 0
        self.reports = 0
        self._reported: dict[str, dict[CallId, str]] = {}
        self._dial = dial
        self._redial_s = redial_s
        self._on_row = on_row
        self._on_review = on_review
        self._on_decision = on_decision
        self.grants: dict[str, list[str]] = {}  # of its owner, to all hubs
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._runs: dict[str, DeviceRun] = {}
        self._leftovers: list[AgentData | AgentComplete] = []
        self._redialling = False
        self._held: list[ToolCall] = []  # calls that it answers later, while it is dying
        self._is_dying = False

    # --- its store ---

    @property
    def mark(self) -> StoreMark | None:
        """Return the store mark for the hello; devices of the first version have none."""
        if "rows.list" not in self.capabilities:
            return None
        return StoreMark(id=self.memory.store_id, counter=self.memory.counter)

    def rename_store(self) -> None:
        """Give the store a new id, because it is new or an older copy."""
        self.stores += 1
        self.memory.store_id = f"store {self.stores} of {self.id}"

    def keep_store(self) -> Memory:
        """Return a copy of the store."""
        return deepcopy(self.memory)

    def put_store_back(self, memory: Memory | None) -> None:
        """Stop the app, and replace the store by an older copy, or by an empty one for None."""
        self.crash()
        self._reported.clear()
        self.memory = Memory() if memory is None else deepcopy(memory)
        if memory is None:
            self.rename_store()

    # --- coming and going ---

    @property
    def wire(self) -> Wire | None:
        """Return the connection, as far as the device knows."""
        return self._wire

    @property
    def held_runs(self) -> list[HeldRun]:
        """Return the runs that the hello reports."""
        return [HeldRun(run_id=run.frame.run_id, fence=run.frame.fence) for run in self._runs.values()]

    def connect(self) -> None:
        """Connect, and retry until connected."""
        self.is_wanted = True
        if self._wire is not None or self._redialling:
            return
        self._wire = self._dial(self)
        if self._wire is None:
            self._redial()

    def disconnect(self, *, hub_after_s: float = 0.0) -> None:
        """Disconnect, and stay offline until ``connect``."""
        self.is_wanted = False
        if self._wire is not None:
            self._wire.cut(hub_after_s=hub_after_s, device_after_s=0.0)

    def crash(self, *, hub_after_s: float | None = None) -> None:
        """Stop the app without its unsaved state, and cut the connection.

        Args:
            hub_after_s: seconds until the hub detects the end; None: some time.
        """
        self.crashes += 1
        for run in self._runs.values():
            run.is_over = True
        self._runs.clear()
        self._leftovers.clear()
        if self._wire is not None:
            after_s = self.dice.uniform(0.0, 2.0) if hub_after_s is None else hub_after_s
            self._wire.cut(hub_after_s=after_s, device_after_s=0.0)

    def lost(self, wire: Wire) -> None:
        """Process the end of a connection."""
        if wire is not self._wire:
            return
        self._wire = None
        if not self.is_welcome:
            self._unanswered_until = self._loop.time() + LATE_S
        elif wire.ended_for == "replaced" and self._loop.time() >= self._unanswered_until:
            self.sent_away += 1
        self.is_welcome = False
        for run in self._runs.values():
            run.is_over = True
            if self.dice.says(self.habits.leftovers):
                self._leftovers += run.rest()
        self._runs.clear()
        if self.is_wanted:
            self._redial(AT_ONCE_S if self._is_dying else self._redial_s)
        self._is_dying = False
        self._held.clear()

    def _redial(self, within_s: tuple[float, float] | None = None) -> None:
        self._redialling = True
        again_s = self.dice.uniform(*(within_s or self._redial_s))
        self._loop.call_later(again_s, self._dial_again, context=self.context)

    def _dial_again(self) -> None:
        self._redialling = False
        if self.is_wanted:
            self.connect()

    # --- frames of the hub ---

    def hears(self, wire: Wire, frame: Frame) -> None:
        """Process a frame of the hub."""
        if wire is not self._wire:
            return
        match frame:
            case Welcome():
                known = frame.store
                hub_knows = known.counter if known and known.id == self.memory.store_id else 0
                if hub_knows > self.memory.counter or hub_knows == 0 < self.memory.counter:
                    self.rename_store()
                self._welcomed(wire)
            case AgentRun():
                self._begin(wire, frame)
            case AgentFetch() | AgentCredit() | AgentCancel():
                run = self._runs.get(frame.run_id)
                if run is not None and frame.fence in (None, run.frame.fence):
                    run.hears(frame)
            case ToolCall() | ToolCalls():
                calls = frame.calls if isinstance(frame, ToolCalls) else [frame]
                self.calls += len(calls)
                delay_s = self.dice.uniform(0.0, 0.3)
                self._loop.call_later(delay_s, self._take, wire, calls, context=self.context)
            case Response():
                self._heard(frame)
            case Goodbye():
                pass  # the close behind it says the same

    def _welcomed(self, wire: Wire) -> None:
        self.is_welcome = True
        for number, frame in enumerate(self._leftovers):
            wire.up_later(frame, f"old {frame.run_id}", 0.01 * number)
        self._leftovers.clear()
        self._report()

    def _begin(self, wire: Wire, frame: AgentRun) -> None:
        known = self._runs.get(frame.run_id)
        if known is not None and known.frame.fence > frame.fence:
            return  # from a hub that does not know yet that it lost the run
        if known is not None:
            known.is_over = True
        run = DeviceRun(
            frame,
            wire,
            capabilities=self.capabilities,
            folder=self.folder,
            dice=self.dice,
            context=self.context,
            on_end=self._forget,
        )
        if self.dice.says(self.habits.busy):
            run.refuse()
            return
        self._runs[frame.run_id] = run
        run.begin(stalls=self.dice.says(self.habits.stalls))

    def _forget(self, run: "DeviceRun") -> None:
        if self._runs.get(run.frame.run_id) is run:
            del self._runs[run.frame.run_id]

    # --- rows ---

    def _take(self, wire: Wire, calls: list[ToolCall]) -> None:
        """Execute the calls of a frame in one transaction, and answer them together."""
        if wire is not self._wire:
            return  # the app that accepted it has ended
        if self.dies_answering:
            if not self._held and not self._is_dying:
                self._is_dying = True
                self._loop.call_later(
                    self.dice.uniform(*HELD_S), self._answer_half, wire, context=self.context
                )
            self._held += calls
            return
        if self.dies_in:
            self.dies_in = max(0, self.dies_in - len(calls))
            if self.dies_in == 0:
                if self.dice.says(0.5):
                    for call in calls:
                        self.do(call)  # written without an answer
                self.crash()
                return
        together: list[tuple[CallId, Answer]] = []
        for call in calls:
            answer = self.do(call)
            if self.dice.says(self.habits.judged):
                self._loop.call_later(self.dice.uniform(0.1, 90.0), self._look, context=self.context)
            if self.dice.says(self.habits.silent):
                continue
            if self.dice.says(self.habits.late):
                lane = f"call {call.id} {self.calls}"
                wire.up_later(Answered(CallId(call.id), answer), lane, self.dice.uniform(25.0, 70.0))
            else:
                together.append((CallId(call.id), answer))
        lane = f"call {calls[0].id} {self.calls}"
        if len(together) > 1:
            wire.up(AnsweredTogether(together), lane)
        elif together:
            wire.up(Answered(*together[0]), lane)

    def _answer_half(self, wire: Wire) -> None:
        """Answer the older half of the held calls; the hub sends further ones then."""
        if wire is self._wire:
            half = (len(self._held) + 1) // 2
            for call in self._held[:half]:
                self._answer_alone(wire, call)
            del self._held[:half]
            self._loop.call_later(self.dice.uniform(*HELD_S), self._die_answering, wire, context=self.context)

    def _die_answering(self, wire: Wire) -> None:
        """Execute the held calls, answer some of them, and die once most of the answers have arrived."""
        if wire is self._wire:
            self.dies_answering = False
            for call in self._held:
                if self.dice.says(0.5):
                    self._answer_alone(wire, call)
            self._loop.call_later(ANSWERED_S, self._die_on, wire, context=self.context)

    def _answer_alone(self, wire: Wire, call: ToolCall) -> None:
        wire.up(Answered(CallId(call.id), self.do(call)), f"call {call.id} {self.calls}")

    def _die_on(self, wire: Wire) -> None:
        if wire is self._wire:
            self.crash(hub_after_s=0.0)

    def do(self, call: ToolCall) -> Answer:
        """Execute a call, and return its answer; a repeated call gets the same answer."""
        call_id = CallId(call.id)
        known = self.memory.answers.get(call_id)
        if known is not None:
            return known
        if self.dice.says(self.habits.fails):
            return Answer(error=ErrorBody(code=ErrorCode.BUSY, message="just now", retryable=True))
        if call.action is Action.REVIEW_APPLY:
            return self._review(call)
        if call.action is Action.ROWS_LIST:
            return Answer(result=self._listed(call))
        if call.action is Action.ROWS_KNOWN:
            return Answer(result=self._known(call))
        if call.action is Action.QUERY:
            return Answer(result={"rows": self._approved(call.limit)})
        if call.action is Action.AGENT_WAKE:
            if call_id not in self.memory.woken:
                self.memory.woken.append(call_id)
            return Answer(result={"woken": True})
        answer = self._changed(call)
        self.memory.answers[call_id] = answer
        if answer.error is None:
            self.memory.count(call_id)
            answer = msgspec.structs.replace(answer, counter=self.memory.counter)
            self.memory.answers[call_id] = answer
        return answer

    def _listed(self, call: ToolCall) -> dict[str, Any]:
        since = call.data["since"]
        assert isinstance(since, int)
        written: list[tuple[Row, str]] = [(row, row.state) for row in self.memory.rows]
        written += [(row, "rejected") for row in self.memory.removed]
        counted = sorted((self.memory.counted[row.call_id], row, state) for row, state in written)
        behind = [one for one in counted if one[0] > since]
        page = behind[: self.dice.between(1, 4)]
        rows = [self._told(*one) for one in page]
        mark = {"id": self.memory.store_id, "counter": self.memory.counter}
        return {"store": mark, "rows": rows, "more": len(page) < len(behind)}

    def _told(self, counter: int, row: Row, state: str) -> dict[str, Any]:
        return {
            "counter": counter,
            "call_id": row.call_id,
            "table": "tasks",
            "row_id": row.row_id,
            "inserted_by": self.memory.made[row.row_id],
            "state": state,
            "agent_id": row.agent_id,
            "run_id": row.run_id,
            "path": row.path,
            "sha256": row.sha256,
            "quote": row.title,
            "start": row.start,
            "end": row.start + len(row.title),
        }

    def _known(self, call: ToolCall) -> dict[str, Any]:
        calls, rows = call.data["calls"], call.data["rows"]
        assert isinstance(calls, list)
        assert isinstance(rows, list)
        there = {row.row_id for row in self.memory.rows}
        return {
            "calls": [one for one in calls if one in self.memory.answers],
            "rows": [one for one in rows if one in there],
        }

    def _approved(self, limit: int) -> list[dict[str, Any]]:
        rows = [row for row in self.memory.rows if row.state == "approved"][:limit]
        return [{"id": row.row_id, "title": row.title, "isApproved": 1} for row in rows]

    def _changed(self, call: ToolCall) -> Answer:
        rows = self.memory.rows
        place = next((n for n, row in enumerate(rows) if row.row_id == call.where.get("id")), None)
        if call.action is Action.UPDATE and place is None:
            return Answer(error=ErrorBody(code=ErrorCode.DATABASE_CONFLICT, message="no such row"))
        self.rows_made += 1  # no id is given twice, whatever is restored
        title = line_of(str(call.data["title"]))
        if REFUSED_WORD in title:
            return Answer(error=ErrorBody(code=ErrorCode.BAD_PARAMS, message="never"))
        row_id = f"row-{self.rows_made}" if place is None else rows[place].row_id
        row = self._row(call, row_id, title)
        self._on_row(self, row)
        if place is None:
            rows.append(row)
            self.memory.made[row_id] = row.call_id
        else:
            rows[place] = row
        return Answer(result={"id": row_id})

    def _row(self, call: ToolCall, row_id: str, title: str) -> Row:
        source = call.source
        assert source is not None and source.sha256 is not None
        call_id, agent_id, run_id = CallId(call.id), call.agent_id or "", call.run_id or ""
        return Row(row_id, call_id, agent_id, run_id, source.path, source.sha256, title, source.start)

    # --- its owner ---

    def _look(self) -> None:
        """Let the owner look at the rows, unless the world became calm since that was planned."""
        if self.habits.judged:
            self.review()

    def review(self, row_id: str | None = None) -> None:
        """Approve, edit or remove a row as the owner, and report the verdict."""
        rows = [row for row in self.memory.rows if row_id in (None, row.row_id)]
        if not rows:
            return
        row = self.dice.choice(rows)
        decided: Row | None = None
        if self.dice.says(0.5):
            is_edit = self.dice.says(0.3)
            decided = replace(row, note="of its owner") if is_edit else replace(row, is_approved=True)
        if decided == row:
            return
        self._on_decision(self, row)
        self.memory.put(decided, row.row_id)
        self.memory.untold[row.call_id] = "rejected" if decided is None else decided.state
        self._report()

    def regrant(self) -> None:
        """Give or withdraw the grant to bring verdicts, as the owner; hubs learn of it by a new hello."""
        name = OwnerGrant.REVIEW_REMOTE.value
        self.grants = {} if name in self.grants else {name: []}
        if self._wire is not None:
            self._wire.cut(hub_after_s=0.0, device_after_s=0.0)

    def _review(self, call: ToolCall) -> Answer:
        """Apply a verdict that a hub brought; a repeated one gets the same answer."""
        call_id = CallId(call.id)
        if call_id not in self.memory.reviews:
            if (why := refused_by_owner(call, self.grants)) is not None:
                return Answer(error=ErrorBody(code=ErrorCode.NOT_GRANTED, message=why))
            row_id = str(call.where["id"])
            before = self.memory.find(row_id)
            answer = self.memory.reviews[call_id] = apply_review(self.memory, call)
            self._on_review(self, Review(call, before, self.memory.find(row_id), answer))
        return self.memory.reviews[call_id]

    def _report(self) -> None:
        if self._wire is None or not self.is_welcome or not self.memory.untold:
            return
        self.reports += 1
        told = dict(self.memory.untold)
        self._reported[f"report {self.reports}"] = told
        verdicts: list[Scalar | Record] = [{"call_id": id, "verdict": said} for id, said in told.items()]
        asked = Request(
            id=f"report {self.reports}", method=Method.REVIEW_REPORT, params={"verdicts": verdicts}
        )
        self._wire.up(asked, "requests")

    def _heard(self, response: Response) -> None:
        told = self._reported.pop(response.id, {})
        if response.error is not None and response.error.retryable:
            self._loop.call_later(REPORT_S, self._report, context=self.context)
        if response.error is None:
            for call_id, verdict in told.items():
                if self.memory.untold.get(call_id) == verdict:
                    del self.memory.untold[call_id]
                    self.memory.count(call_id)


class DeviceRun:
    """Run that the device accepts or refuses.

    Args:
        capabilities: capabilities of the device.
        context: tracing context in which the run resumes after a wait.
        on_end: called after the last frame was sent.
    """

    def __init__(
        self,
        frame: AgentRun,
        wire: Wire,
        *,
        capabilities: frozenset[str],
        folder: Folder,
        dice: Dice,
        context: contextvars.Context,
        on_end: "Callable[[DeviceRun], None]",
    ) -> None:
        self.frame = frame
        self.is_over = False
        self._wire = wire
        self._capabilities = capabilities
        self._folder = folder
        self._dice = dice
        self._context = context
        self._on_end = on_end
        self._lane = f"run {frame.run_id}"
        self._loop = asyncio.get_running_loop()
        self._has_credit = "agent_data.credit" in capabilities
        self._credit = frame.credit
        self._pieces: list[FilePiece] = []  # to be sent, in order
        self._skipped: list[SkippedFile] = []
        self._pages: list[AgentManifest] = []  # to be sent, in order
        self._is_last = False  # nothing more will be asked for
        self._sent = 0
        self._sending = False

    @property
    def _fence(self) -> int | None:
        """Return the fence for the frames; devices of the first version have none."""
        return self.frame.fence if self._has_credit else None

    def refuse(self) -> None:
        """Refuse the run as busy."""
        run_id, fence = self.frame.run_id, self._fence
        if "agent_ack" in self._capabilities:
            self._wire.up(
                AgentAck(run_id=run_id, fence=fence, accepted=False, reason=ErrorCode.BUSY), self._lane
            )
        busy = ErrorBody(code=ErrorCode.BUSY, message="another time")
        self._wire.up(AgentComplete(run_id=run_id, fence=fence, error=busy), self._lane)

    def begin(self, *, stalls: bool) -> None:
        """Accept the run; with *stalls*, send nothing more."""
        if "agent_ack" in self._capabilities:
            self._wire.up(AgentAck(run_id=self.frame.run_id, fence=self._fence), self._lane)
        if not stalls:
            self._later(self._list, self._dice.uniform(0.01, 1.5))

    def hears(self, frame: AgentFetch | AgentCredit | AgentCancel) -> None:
        """Process a frame of the hub for this run."""
        match frame:
            case AgentFetch():
                for path in frame.paths:
                    found = self._folder.find(path)
                    if found is None:
                        self._skipped.append(SkippedFile(path=path, reason="vanished"))
                    else:
                        self._add(found)
                self._is_last = self._is_last or frame.last
                if frame.last:
                    self._pages.clear()
                elif self._pages:
                    self._later(self._send_page, self._dice.uniform(0.0, 0.4))
            case AgentCredit():
                self._credit += frame.pieces
            case AgentCancel():
                self._complete(ErrorBody(code=ErrorCode.CANCELLED, message="as you wish"))
                return
        self._send_on()

    def rest(self) -> list[AgentData | AgentComplete]:
        """Return the frames that an app would still send after a missed end of its run."""
        if not self._has_credit:
            return []  # without a fence they look like frames of the next attempt
        run_id, fence = self.frame.run_id, self._fence
        data = [AgentData(run_id=run_id, fence=fence, files=[piece]) for piece in self._pieces[:2]]
        return [*data, AgentComplete(run_id=run_id, fence=fence)]

    def _list(self) -> None:
        files = self._folder.files()
        if "agent_manifest" in self._capabilities:
            self._pages = self._manifest(files)
            self._send_page()
            while self._pages and not self.frame.paged:
                self._send_page()
        else:
            for file in files:
                self._add(file)
            self._is_last = True
            self._send_on()

    def _manifest(self, files: list[Edition]) -> list[AgentManifest]:
        """Return the frames of the manifest: a tree, in most paged runs, and one frame or two of files."""
        run_id, fence = self.frame.run_id, self._fence
        listed = [
            ManifestFile(path=file.path, size_bytes=len(file.text), sha256=file.sha256) for file in files
        ]
        half = len(listed) // 2 if self._dice.says(0.3) else 0
        parts = [listed[:half], listed[half:]] if half else [listed]
        frames = [AgentManifest(run_id=run_id, fence=fence, files=part, last=False) for part in parts]
        tree = None
        if self.frame.tree and self._dice.says(0.9):
            tree = ManifestTree(digest=tree_of(files), files=len(files))
        if tree is not None and self._dice.says(0.8):
            frames.insert(0, AgentManifest(run_id=run_id, fence=fence, tree=tree, last=False))
            tree = None
        frames[-1] = msgspec.structs.replace(frames[-1], last=True, tree=tree)
        return frames

    def _send_page(self) -> None:
        if self._pages:
            self._up(self._pages.pop(0))

    def _add(self, file: Edition) -> None:
        cut = len(file.text) // 2 if self._dice.says(0.2) else 0
        parts = [file.text[:cut], file.text[cut:]] if cut else [file.text]
        sha256 = file.sha256 if self._has_credit else None
        self._pieces += [
            FilePiece(path=file.path, content=part, sha256=sha256, piece=number, pieces=len(parts))
            for number, part in enumerate(parts)
        ]

    def _send_on(self) -> None:
        if self._sending or self.is_over:
            return
        if self._pieces and (self._credit > 0 or not self._has_credit):
            self._sending = True
            self._later(self._send_piece, self._dice.uniform(0.0, 0.4))
        elif not self._pieces and self._is_last:
            self._complete(None)

    def _send_piece(self) -> None:
        self._sending = False
        if not self._pieces:
            return
        piece = self._pieces.pop(0)
        self._credit -= 1
        self._sent += 1
        self._up(AgentData(run_id=self.frame.run_id, fence=self._fence, files=[piece]))
        self._send_on()

    def _complete(self, error: ErrorBody | None) -> None:
        self._up(
            AgentComplete(
                run_id=self.frame.run_id,
                fence=self._fence,
                files=self._sent,
                skipped=self._skipped,
                error=error,
            )
        )
        self.is_over = True
        self._on_end(self)

    def _up(self, frame: AgentManifest | AgentData | AgentComplete) -> None:
        if not self.is_over:
            self._wire.up(frame, self._lane)

    def _later(self, step: Callable[[], None], seconds: float) -> None:
        self._loop.call_later(seconds, self._unless_over, step, context=self._context)

    def _unless_over(self, step: Callable[[], None]) -> None:
        if not self.is_over:
            step()
