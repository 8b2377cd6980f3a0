"""The gate against attacks sees what it is there for; the attacks themselves: ``make attack``."""

import asyncio
import random
from pathlib import Path
from time import thread_time

import msgspec
import pytest

from tests.scenarios.attack_gate import FLOOR_MS, Felt, faults
from tests.scenarios.generated_attacks import fixed_attacks, generated_attacks
from tests.scenarios.inner_attacks import overgrown
from tests.scenarios.timed_hub import MIN_MS, probe_waits, time_callbacks

FELT = Felt(1.0, "", 0.1, 0.1, 1.0, 0.1, 0.05, {})


@pytest.mark.parametrize(
    ("felt", "told"),
    [
        ({"callback_ms": 51.0, "what_ran": "read"}, "a callback took 51 ms: read"),
        ({"cpu_ms": FLOOR_MS + 0.1}, f"/healthz took {FLOOR_MS + 0.1:.1f} ms of CPU time with its wait"),
        ({"unanswered": 1}, "an operator at the same address got no answer to 1 requests"),
        ({"call_s": 1.1}, "a good device waited 1.1 s"),
        ({"health_s": 1.1}, "/healthz took 1.1 s"),
        ({"grown_mib": 65.0}, "the hub grew by 65 MiB"),
        ({"quiet_in_s": 2.1}, "it was quiet again after 2.1 s"),
        ({"overgrown": ["table items grew"]}, "table items grew"),
    ],
)
def test_each_bound_is_kept(felt: dict[str, object], told: str) -> None:
    assert (faults(FELT), faults(msgspec.structs.replace(FELT, **felt))) == ([], [told])


def test_call_waiting_before_the_attack_may_wait_ten_times_as_long() -> None:
    assert faults(msgspec.structs.replace(FELT, call_s=1.9, quiet_s=0.2)) == []


def test_wait_for_the_loop_is_measured_in_cpu_time_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_forever", asyncio.BaseEventLoop.run_forever)
    (tmp_path / "waits").touch()
    probe_waits(tmp_path / "waits")

    def wait_ms() -> float:
        return max(map(float, (tmp_path / "waits").read_text().splitlines()), default=0.0)

    async def works() -> None:
        while wait_ms() < MIN_MS:
            began = thread_time()
            while thread_time() - began < 10 * MIN_MS / 1e3:
                pass
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(works(), 30))
    assert wait_ms() >= MIN_MS


def test_table_growing_beyond_the_own_figure_or_the_figure_of_all_others_is_named() -> None:
    before = {"seen_messages": 5, "items": 5}
    growth = {"seen_messages": 10, "": 20}
    assert overgrown(before, {"seen_messages": 15, "items": 25}, growth) == []
    assert overgrown(before, {"seen_messages": 16, "items": 26}, growth) == [
        "table seen_messages grew by 11 bytes, and 10 are documented",
        "table items grew by 21 bytes, and 20 are documented",
    ]
    assert overgrown(before, {"items": 10**9}, {}) == []


def test_a_seed_makes_the_same_attacks_again() -> None:
    one, same, other = (generated_attacks(1.0, random.Random(seed)) for seed in (1, 1, 2))
    assert one == same != other
    names = [attack.name for attack in [*fixed_attacks(1.0), *one]]
    assert len(names) == len(set(names)) > 100


def test_long_callback_is_recorded_with_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.Handle, "_run", asyncio.Handle._run)  # put back afterwards
    time_callbacks(tmp_path / "long")

    async def works() -> None:
        began = thread_time()
        while thread_time() - began < 2 * MIN_MS / 1e3:
            pass

    asyncio.run(works())
    took, _, what = (tmp_path / "long").read_text().splitlines()[0].partition(" ")
    assert float(took) >= 2 * MIN_MS
    assert "works" in what
