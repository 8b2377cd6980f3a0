"""Whatever happens to the rows, in whatever order: they say what was expected, and keep every law.

A database in a real file is told what a scheduler, a dispatcher, devices, people and
faults do, step by step; beside it the same in plain dicts (``tests.storage.expected``).
The suite does it small; ``python -m tests.storage.machine`` (``make soak``) at length,
and with whatever chance there is: what it finds, it makes small and prints.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from protocol.ids import CallId, RunId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage import leases
from storage.effects import sessions
from storage.executing_runs import FencedRun, StaleRun
from storage.kernel.migrate import upgrade
from storage.runs import run_moves, run_resumes, runs, units
from storage.runs.calls import mark_sent
from tests.storage.hub_file import told
from tests.storage.laws import broken_laws, held_by_others, over_limits
from tests.storage.runs_at_work import UNITS, RunsAtWork
from tests.storage.steps import Choose, step


class Machine(RunsAtWork):
    """The rest: faults, and what must hold after each step."""

    @step(2, when=lambda self: any(run.fence for run in self.world.runs.values()))
    def somebody_writes_with_an_old_fence(self, choose: Choose) -> None:
        run = self.world.runs[choose.among(sorted(id for id, run in self.world.runs.items() if run.fence))]
        unit = choose.among(UNITS)
        late = FencedRun(RunId(run.id), RunState.RUNNING, run.fence - 1)
        calls = [CallId(id) for id in self.world.calls_of(run)]
        for write in (
            lambda c: run_moves.move(c, late, RunEvent.FAILED, at=self.at, actor="late"),
            lambda c: runs.note_progress(c, late, 9, self.at),
            lambda c: mark_sent(c, late, calls, self.at),
            lambda c: units.settle_unit(c, late, unit, self.at),
            lambda c: units.skip_units(c, late, [("late.txt", "1", 1)], self.at),
        ):
            with pytest.raises(StaleRun), self.hub.transaction() as c:
                write(c)

    @step(2)
    def the_hub_restarts(self, choose: Choose) -> None:
        how = choose("dies", "dies half-way", "stops")
        if how == "dies half-way":
            self.hub.leave_half_done()
        elif how == "stops":
            self._drain()
        self.hub.die()
        self._boot()
        for device in sorted(self.epochs):
            if choose(True, True, False):
                self.connect(device)

    def _drain(self) -> None:
        for run in self.world.live("PREPARING", "RUNNING"):
            if run.state == "PREPARING":
                self.move(run, RunEvent.DRAINED, "QUEUED")
            else:
                self.move(run, RunEvent.DRAINED, "PAUSED", pause="drain")

    def _boot(self) -> None:
        with self.hub.transaction() as c:
            leases.end_others(c, self.hub.boot_id)
            run_moves.recover(c, boot_id=self.hub.boot_id, at=self.at)
            sessions.close_left_sessions(c, self.at, boot_id=self.hub.boot_id, is_alone=True)
            run_resumes.resume_runs(c, PauseReason.DRAIN, at=self.at)
            assert held_by_others(c, self.hub.boot_id) == []
        self.online.clear()
        self.world.recover(self.at)
        self.world.resume("drain", self.at)

    @invariant()
    def the_rows_say_what_was_expected(self) -> None:
        with self.hub.transaction() as c:
            found, expected = told(c), dict(self.world.told())
        differ = {
            who: (found.get(who), expected.get(who))
            for who in sorted(found.keys() | expected.keys())
            if found.get(who) != expected.get(who)
        }
        assert not differ, differ

    @invariant()
    def every_law_is_kept(self) -> None:
        with self.hub.transaction() as c:
            broken = [
                *broken_laws(c),
                *self.memory.look(c),
                *over_limits(c, per_device=self.per_device, total=self.total),
            ]
        assert not broken, broken


def run_machine(folder: Path, *, examples: int, steps: int, is_repeatable: bool) -> None:
    """Take so many walks of so many steps each.

    Args:
        folder: an empty one, for the file that each walk begins with.
        is_repeatable: always the same walks; what fails is not made smaller.
    """
    Machine.pattern = folder / "pattern.db"
    upgrade(Machine.pattern)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=is_repeatable,
            database=None,
            phases=[Phase.generate] if is_repeatable else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def main(examples: int = 1_000, steps: int = 150) -> None:
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_machine(Path(folder), examples=examples, steps=steps, is_repeatable=False)
    took_s = perf_counter() - began
    sys.stdout.write(f"{examples} walks of {steps} steps in {took_s:.0f} s: every row as expected\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
