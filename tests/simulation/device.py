"""A device: a folder, a durable store of rows and answers, and an app that comes and goes.

The store keeps the one promise that everything rests on: a row and the answer that
tells of it are written together, and a call that comes again is answered from the
store. Everything else here is as unreliable as the dice say.
"""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from protocol.errors import ErrorCode
from protocol.events import Answered
from protocol.frame import ErrorBody, Frame
from protocol.handshake import Goodbye, HeldRun, Welcome
from protocol.ids import CallId, DeviceId
from protocol.work import (
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentRun,
    Answer,
    ToolCall,
)
from tests.simulation.device_run import DeviceRun
from tests.simulation.dice import Dice
from tests.simulation.files import REFUSED_WORD, Folder
from tests.simulation.wire import Wire

MODERN: Final = frozenset({"agent_manifest", "agent_data.credit", "agent_ack"})
FIRST_DAYS: Final = frozenset[str]()  # a device that sends everything at once and knows no credit


@dataclass(frozen=True, slots=True)
class Row:
    """What an insert left behind."""

    call_id: CallId
    agent_id: str
    run_id: str
    path: str
    sha256: str
    title: str


@dataclass(slots=True)
class Memory:
    """What survives the app: it is on the disk before an answer leaves."""

    answers: dict[CallId, Answer] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class Habits:
    """How often it does not do as it should."""

    busy: float = 0.02  # of all runs are not taken on, for now
    stalls: float = 0.005  # of all runs are begun and forgotten
    silent: float = 0.006  # of all calls are done and not answered
    fails: float = 0.01  # of all calls cannot be done just now
    late: float = 0.006  # of all answers come when nobody waits any more
    leftovers: float = 0.3  # of all interrupted runs send on after the next connection

    def mend(self) -> None:
        """From now on it does."""
        self.busy = self.stalls = self.silent = self.fails = self.late = self.leftovers = 0.0


class SimDevice:
    """One device.

    Args:
        dial: finds a hub and connects to it; ``None`` when there is none.
        on_row: told of a row before it is there.
    """

    def __init__(
        self,
        device_id: DeviceId,
        *,
        dice: Dice,
        capabilities: frozenset[str],
        context: contextvars.Context,
        dial: "Callable[[SimDevice], Wire | None]",
        on_row: "Callable[[SimDevice, Row], None]",
    ) -> None:
        self.id = device_id
        self.capabilities = capabilities
        self.context = context
        self.folder = Folder(device_id, dice.fork("folder"))
        self.memory = Memory()
        self.habits = Habits()
        self.dice = dice
        self.is_wanted = True  # whether it is to be connected
        self.is_welcome = False
        self.connected_at = 0.0  # loop time of the last welcome
        self.dies_in = 0  # inserts until it dies in the middle of one; 0: never
        self.crashes = 0
        self.calls = 0
        self._dial = dial
        self._on_row = on_row
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._runs: dict[str, DeviceRun] = {}
        self._leftovers: list[AgentData | AgentComplete] = []
        self._redialling = False

    # --- coming and going ---

    @property
    def wire(self) -> Wire | None:
        """Its connection, as far as it knows."""
        return self._wire

    @property
    def held_runs(self) -> list[HeldRun]:
        """What its hello tells of runs."""
        return [HeldRun(run_id=run.frame.run_id, fence=run.frame.fence) for run in self._runs.values()]

    def connect(self) -> None:
        """Connect if it is not connected, and try again until it is."""
        self.is_wanted = True
        if self._wire is not None or self._redialling:
            return
        self._wire = self._dial(self)
        if self._wire is None:
            self._redial()

    def disconnect(self, *, hub_after_s: float = 0.0) -> None:
        """Leave, and stay away until ``connect``."""
        self.is_wanted = False
        if self._wire is not None:
            self._wire.cut(hub_after_s=hub_after_s, device_after_s=0.0)

    def crash(self) -> None:
        """The app is gone, with all that was not in its store; the connection is cut."""
        self.crashes += 1
        for run in self._runs.values():
            run.is_over = True
        self._runs.clear()
        self._leftovers.clear()
        if self._wire is not None:
            self._wire.cut(hub_after_s=self.dice.uniform(0.0, 2.0), device_after_s=0.0)

    def lost(self, wire: Wire) -> None:
        """A connection is gone."""
        if wire is not self._wire:
            return
        self._wire = None
        self.is_welcome = False
        for run in self._runs.values():
            run.is_over = True
            if self.dice.says(self.habits.leftovers):
                self._leftovers += run.rest()
        self._runs.clear()
        if self.is_wanted:
            self._redial()

    def _redial(self) -> None:
        self._redialling = True
        self._loop.call_later(self.dice.uniform(0.2, 6.0), self._dial_again, context=self.context)

    def _dial_again(self) -> None:
        self._redialling = False
        if self.is_wanted:
            self.connect()

    # --- what the hub says ---

    def hears(self, wire: Wire, frame: Frame) -> None:
        """A frame has come."""
        if wire is not self._wire:
            return
        match frame:
            case Welcome():
                self._welcomed(wire)
            case AgentRun():
                self._begin(wire, frame)
            case AgentFetch() | AgentCredit() | AgentCancel():
                run = self._runs.get(frame.run_id)
                if run is not None and frame.fence in (None, run.frame.fence):
                    run.hears(frame)
            case ToolCall():
                self.calls += 1
                delay_s = self.dice.uniform(0.0, 0.3)
                self._loop.call_later(delay_s, self._take, wire, frame, context=self.context)
            case Goodbye():
                pass  # the close behind it says the same

    def _welcomed(self, wire: Wire) -> None:
        self.is_welcome = True
        self.connected_at = self._loop.time()
        for number, frame in enumerate(self._leftovers):
            wire.up_later(frame, f"old {frame.run_id}", 0.01 * number)
        self._leftovers.clear()

    def _begin(self, wire: Wire, frame: AgentRun) -> None:
        known = self._runs.get(frame.run_id)
        if known is not None and known.frame.fence > frame.fence:
            return  # from a hub that has not heard yet that it lost the run
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

    def _forget(self, run: DeviceRun) -> None:
        if self._runs.get(run.frame.run_id) is run:
            del self._runs[run.frame.run_id]

    # --- rows ---

    def _take(self, wire: Wire, call: ToolCall) -> None:
        if wire is not self._wire:
            return  # the app that took it is gone
        if self.dies_in:
            self.dies_in -= 1
            if self.dies_in == 0:
                if self.dice.says(0.5):
                    self.insert(call)  # written, and nobody is told
                self.crash()
                return
        answer = self.insert(call)
        lane = f"call {call.id} {self.calls}"
        if self.dice.says(self.habits.silent):
            return
        if self.dice.says(self.habits.late):
            wire.up_later(Answered(CallId(call.id), answer), lane, self.dice.uniform(25.0, 70.0))
        else:
            wire.up(Answered(CallId(call.id), answer), lane)

    def insert(self, call: ToolCall) -> Answer:
        """What its store says to a call: the same whenever it comes, and a row if there is to be one."""
        call_id = CallId(call.id)
        known = self.memory.answers.get(call_id)
        if known is not None:
            return known
        if self.dice.says(self.habits.fails):
            return Answer(error=ErrorBody(code=ErrorCode.BUSY, message="just now", retryable=True))
        title = str(call.data["title"])
        if REFUSED_WORD in title:
            answer = Answer(error=ErrorBody(code=ErrorCode.BAD_PARAMS, message="never"))
        else:
            source = call.source
            assert source is not None and source.sha256 is not None
            row = Row(call_id, call.agent_id or "", call.run_id or "", source.path, source.sha256, title)
            self._on_row(self, row)
            self.memory.rows.append(row)
            answer = Answer(result={"id": f"row-{len(self.memory.rows)}"})
        self.memory.answers[call_id] = answer
        return answer
