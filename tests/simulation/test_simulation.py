"""Worlds with one, two or three hubs and all kinds of faults, in which no law is violated."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.breaks import BREAKS, PAUSES
from tests.simulation.simulate import simulate
from tests.simulation.world import Ways

ROOT = Path(__file__).parents[2]
FEW, SEEDS, PART = 2, 150, 25
FEW_PAUSED = 8
ENOUGH_TO_SEE = 60  # worlds of which at least one shows the fault
TOLD_SEED = 5
SEEN = ("fresh_ids", "no_fence")  # by make test; by make soak the other ways as well
THREE_HUBS = Ways(hubs=3)
FAULTS = ("hub crashes", "frames lost", "frames doubled", "frames late", "frames stale")


def check_worlds(seeds: Sequence[int], ways: Ways | None = None) -> Counter[str]:
    """Check that no law is broken in the worlds of *seeds*, and return what was counted in them."""
    reports = [simulate(seed, ways=ways) for seed in seeds]
    broken = [
        f"seed {report.seed}: {violation.law}: {violation.text}"
        for report in reports
        for violation in report.violations
    ]
    assert broken == []
    totals: Counter[str] = Counter()
    for report in reports:
        totals.update(report.totals)
    return totals


def parts(few: int) -> list[Any]:
    """Return first seed and number of the worlds of each test: *few*, and the others by make soak."""
    later = [pytest.param(first, PART, marks=pytest.mark.soak) for first in range(few, SEEDS, PART)]
    return [(0, few), *later]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "count"), parts(FEW))
def test_no_law_is_broken_in_simulated_worlds_with_all_faults(first: int, count: int) -> None:
    totals = check_worlds(range(first, first + count))
    assert [fault for fault in FAULTS if not totals[fault]] == [], "these did not happen"


@pytest.mark.slow
@pytest.mark.parametrize(("first", "count"), parts(1))
def test_no_law_is_broken_by_three_hubs_on_a_shared_database(first: int, count: int) -> None:
    check_worlds(range(first, first + count), THREE_HUBS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SEEN else pytest.mark.soak) for name in sorted(BREAKS)]
)
def test_faults_of_earlier_versions_break_a_law(name: str) -> None:
    for seed in range(ENOUGH_TO_SEE):
        if simulate(seed, ways=BREAKS[name]).violations:
            return
    pytest.fail(f"{name} was not seen in {ENOUGH_TO_SEE} worlds")


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(PAUSES))
def test_process_pause_at_a_guarded_place_breaks_no_law(name: str) -> None:
    check_worlds(range(FEW_PAUSED), PAUSES[name])


@pytest.mark.soak
def test_the_same_seed_gives_the_same_log_in_every_process() -> None:
    here = hashlib.sha256()
    simulate(TOLD_SEED, say=lambda line: here.update(f"{line}\n".encode()))
    assert digest_in_process(hash_seed="77") == here.hexdigest()


def digest_in_process(hash_seed: str) -> str:
    """Return the digest of the trace of ``TOLD_SEED``, made by a separate process."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(TOLD_SEED), "--trace"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    trace, _, _ = done.stdout.rpartition("1 seeds\n")
    return hashlib.sha256(trace.encode()).hexdigest()
