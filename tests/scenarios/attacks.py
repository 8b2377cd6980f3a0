"""Every limit of both doors, attacked: what the hub answers, what it costs, and what others feel.

``python -m tests.scenarios.attacks`` (``make soak``) prints a table and fails when an answer is another
than the limits say, when the hub's memory grows beyond its bound, or when somebody who does no
harm waits more than twice as long as before. The suite does it short, without the last of these.

The hub is a process, and so is the attacker. From here a good device asks something 25 times a
second, and when operators' doors are attacked an operator at the hub's machine does, too.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio
import msgspec

from tests.bench.machine import TICKS_PER_S, cpu_ticks, pin_to_core
from tests.scenarios.arena import END_S, Arena, LimitedHub, Question, arena, asked, worst_of
from tests.scenarios.attack import Attack, Door, Outcome, faults
from tests.scenarios.attackers import CORE
from tests.scenarios.device_attacks import counted_attacks, device_attacks
from tests.scenarios.operator_attacks import operator_attacks

MOST_TIMES_QUIET: Final = 2.0
MOST_BACK_S: Final = 5.0
ROUNDS: Final = 3


def attacks(seconds: float) -> list[Attack]:
    """All of them, each so long, each from addresses of its own."""
    found = device_attacks(seconds) + counted_attacks(seconds) + operator_attacks(seconds)
    return [
        msgspec.structs.replace(attack, plan=msgspec.structs.replace(attack.plan, subnet=subnet))
        for subnet, attack in enumerate(found, 1)
    ]


async def play(arena: Arena, attack: Attack, *, quiet_s: float) -> Outcome:
    """Look how others fare, attack, and look again."""
    hub = arena.hub
    plan = msgspec.structs.replace(attack.plan, tokens=await arena.tokens(attack) or attack.plan.tokens)
    if attack.door is Door.UNIX:
        plan.unix = str(hub.unix_path)
    else:
        plan.port = int(arena.ports[attack.door].rpartition(":")[2])
    newcomer = await arena.newcomer(attack.door)
    run_id = await hub.start_run("agent0") if attack.has_run else None
    reached_before, slow_before = await hub.counts()
    paused_before = _paused_lines(hub)
    questions = list(arena.harmless(attack.door).values())
    quiet = await asked(questions, quiet_s)
    before = hub.memory_mib("VmRSS")
    hub.forget_peak()
    used, began = cpu_ticks(hub.pid), perf_counter()
    answers: Counter[str] = Counter()
    busy: list[list[float]] = [[] for _ in questions]
    async with anyio.create_task_group() as tasks:

        async def attack_and_stop() -> None:
            answers.update(await arena.attacker.attack(plan))
            tasks.cancel_scope.cancel()

        tasks.start_soon(attack_and_stop)
        await asked(questions, plan.seconds + END_S, busy)
    cpu_share = (cpu_ticks(hub.pid) - used) / TICKS_PER_S / (perf_counter() - began)
    peak = hub.memory_mib("VmHWM")
    back_in_s = await _until_in(newcomer)
    if run_id is not None:
        await hub.ask("POST", f"/v1/runs/{run_id}/cancel")
    reached, slow = await hub.counts()
    return Outcome(
        answers=dict(answers),
        reached={name: count - reached_before.get(name, 0.0) for name, count in reached.items()},
        slow_consumers=slow - slow_before,
        paused_lines=_paused_lines(hub) - paused_before,
        before_mib=before,
        peak_mib=peak,
        waits=worst_of(quiet, busy),
        cpu_share=cpu_share,
        back_in_s=back_in_s,
    )


def _paused_lines(hub: LimitedHub) -> int:
    return hub.log().count("listener.paused")


async def _until_in(newcomer: Question) -> float:
    """How long somebody needs who tries again, as devices and people do."""
    began = perf_counter()
    with anyio.fail_after(END_S):
        while True:
            try:
                await newcomer()
            except Exception:
                await anyio.sleep(0.1)
            else:
                return perf_counter() - began


async def main(seconds: float, told: Callable[[str], None]) -> int:
    """The table; 1 when something is not as it must be."""
    pin_to_core(CORE)
    told("MiB of the hub before and at most; ms in which 99 of 100 questions of the harmless are answered")
    told(f"{'attack':33} {'before':>6} {'most':>6} {'quiet':>6} {'p99':>6} {'times':>5} {'cpu':>4}  answers")
    bad = 0
    for attack in attacks(seconds):
        rounds = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                async with arena(Path(folder), attack) as opened:
                    rounds.append(await play(opened, attack, quiet_s=seconds))
        one = sorted(rounds, key=lambda outcome: outcome.waits.times_quiet)[ROUNDS // 2]
        told(
            f"{attack.name:33} {one.before_mib:6.1f} {one.peak_mib:6.1f} {one.waits.quiet_ms:6.2f}"
            f" {one.waits.busy_ms:6.2f} {one.waits.times_quiet:5.2f} {one.cpu_share:4.0%}"
            f"  {_spelled(one.answers)}"
        )
        wrong = {fault for outcome in rounds for fault in faults(attack, outcome)}
        if one.back_in_s > MOST_BACK_S:
            wrong.add(f"somebody else is back in after {one.back_in_s:.1f} s")
        if one.waits.times_quiet > MOST_TIMES_QUIET:
            wrong.add(f"the harmless wait {one.waits.times_quiet:.1f} times as long")
        for fault in sorted(wrong):
            told(f"    {fault}")
        bad += bool(wrong)
    return int(bool(bad))


def _spelled(answers: dict[str, int]) -> str:
    return ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # for the person who runs it


if __name__ == "__main__":
    sys.exit(anyio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, _tell))
