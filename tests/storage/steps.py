"""A machine whose next step is drawn by weight, from those that can be taken.

One rule draws them all: hypothesis leaves out some rules in each example, and of the
chain that makes a run come to its end some link would nearly always be missing.
"""

import tempfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocol.ids import DeviceId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage.agents.declared_agents import DeclaredAgent
from storage.executing_runs import FencedRun
from storage.runs import run_moves, run_resumes
from tests.storage.expected import World
from tests.storage.expected_rows import Run
from tests.storage.hub_file import HubFile
from tests.storage.laws import Memory
from tests.support.presence import open_session

T = TypeVar("T")
StepT = TypeVar("StepT", bound=Callable[..., None])


class Choose:
    """Chance, as hypothesis gives it and makes it small again."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def __call__(self, *options: T) -> T:
        return self.among(options)

    def among(self, options: Sequence[T]) -> T:
        """One of these; the first is the simplest."""
        return self._data.draw(st.sampled_from(options))


def step(often: int = 1, *, when: Callable[[Any], object] = lambda machine: True) -> Callable[[StepT], StepT]:
    """Marks a method that does one thing to the file and to the dicts; *when* it can be done."""

    def mark(method: StepT) -> StepT:
        vars(method).update(often=often, when=when)
        return method

    return mark


def has_run(*states: str) -> Callable[["Steps"], object]:
    """Return True if a run is in one of these states."""
    return lambda machine: machine.world.live(*states)


def held(run: Run) -> FencedRun:
    """The run as its holder sees it."""
    return FencedRun(RunId(run.id), RunState(run.state), run.fence)


class Steps(RuleBasedStateMachine):
    """The file, the dicts beside it, and what a test knows of the world outside of both."""

    pattern: Path  # an empty database

    @initialize(per_device=st.integers(1, 2), total=st.integers(1, 3), order=st.integers(0, 99))
    def open(self, per_device: int, total: int, order: int) -> None:
        self.order = order
        self.folder = tempfile.TemporaryDirectory()
        self.hub = HubFile(self.pattern, Path(self.folder.name))
        self.world, self.memory = World(), Memory()
        self.per_device, self.total = per_device, total
        self.declared: dict[str, DeclaredAgent] = {}
        self.epochs: dict[str, int] = {}  # of devices
        self.online: set[str] = set()
        self.applied: set[str] = set()  # call ids that a device has a row for
        self.contents: dict[tuple[str, str], str] = {}  # of the units of runs, what was read last
        self.runs_made = 0
        self.begin()

    def begin(self) -> None:
        """What there is before the first step."""
        raise NotImplementedError

    def teardown(self) -> None:
        if hasattr(self, "hub"):
            self.hub.close()
            self.folder.cleanup()

    @rule(data=st.data())
    def next(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._steps()), label="step")
        getattr(self, name)(Choose(data))

    def _steps(self) -> list[str]:
        """In another order in each example: chance, as hypothesis has it, likes what comes first."""
        marked = [
            method for cls in type(self).__mro__ for method in vars(cls).values() if hasattr(method, "often")
        ]
        marked.sort(key=lambda method: blake2b(f"{self.order} {method.__name__}".encode()).digest())
        return [method.__name__ for method in marked if method.when(self) for _ in range(method.often)]

    def run(self, choose: Choose, *states: str) -> Run:
        """One of the runs in these states."""
        return self.world.runs[choose.among([run.id for run in self.world.live(*states)])]

    @property
    def at(self) -> int:
        return self.hub.at

    def connect(self, device: str) -> None:
        """A device opens a session, whether it had one or not; runs that waited for it may go on."""
        device_id = f"device-{device}"
        with self.hub.transaction() as c:
            epoch = open_session(c, DeviceId(device_id), boot_id=self.hub.boot_id, platform=None, at=self.at)
            run_resumes.resume_runs(c, PauseReason.DEVICE_OFFLINE, devices=[DeviceId(device_id)], at=self.at)
        assert epoch == self.epochs.get(device, 0) + 1
        self.epochs[device] = epoch
        self.online.add(device)
        self.world.resume("device_offline", self.at, devices=[device_id])

    def move(self, run: Run, event: RunEvent, state: str, *, pause: str | None = None, **how: Any) -> None:
        """A run moves, in the file and in the dicts."""
        with self.hub.transaction() as c:
            run_moves.move(c, held(run), event, at=self.at, actor="hub", **how)
        self.world.move(run, state, self.at, pause=pause)
