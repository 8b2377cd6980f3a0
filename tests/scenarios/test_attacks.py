"""Every limit of both doors, attacked: what the hub answers, what it costs, and that others are served.

The hub is a process, and so is the attacker. From here a good device asks something 25 times a second, and
when operators' doors are attacked an operator at the hub's machine does, too. Others' waits: ``make attack``.
"""

from itertools import groupby
from pathlib import Path

import anyio
import pytest

from tests.scenarios.arena import END_S, Arena, Question, arena, asked
from tests.scenarios.attacks import Attack, attacks

SECONDS = 0.7
MAX_GROWTH_MIB = 24.0
MAX_PAUSED_LINES = 10  # of the log, that nothing is accepted


def settings_of(attack: Attack) -> tuple[str, str, tuple[str, ...], int, int]:
    return attack.listen, attack.limits, attack.given, attack.files, attack.agents


ON_ONE_HUB = [list(group) for _, group in groupby(sorted(attacks(SECONDS), key=settings_of), settings_of)]
GROUPS = [
    pytest.param(group, id=group[0].name, marks=[pytest.mark.soak] if number else [])
    for number, group in enumerate(sorted(ON_ONE_HUB, key=len))
]


async def faults(arena: Arena, attack: Attack) -> list[str]:
    """Attack while others ask, and return what is not as it must be; how long others wait is not among it."""
    hub, plan = arena.hub, await arena.aimed(attack)
    newcomer = await arena.newcomer(attack.door)
    run_id = await hub.start_run("agent0") if attack.has_run else None
    reached_before, slow_before = await hub.counts()
    paused_before, before = hub.log().count("listener.paused"), hub.memory_mib("VmRSS")
    hub.forget_peak()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked, arena.harmless(attack.door), plan.seconds + END_S)
        answers = await arena.attacker.attack(plan)
        tasks.cancel_scope.cancel()
    grown_mib = hub.memory_mib("VmHWM") - before
    await until_in(newcomer)
    if run_id is not None:
        await hub.ask("POST", f"/v1/runs/{run_id}/cancel")
    reached, slow = await hub.counts()
    others = answers.keys() - {attack.must, *attack.may}
    paused = hub.log().count("listener.paused") - paused_before
    wrong = {
        f"no socket was answered {attack.must}: {answers}": not answers.get(attack.must),
        f"a socket was answered {', '.join(sorted(others))}": others,
        f"{attack.limit} was not reached: {reached}": attack.limit
        and reached.get(attack.limit, 0.0) <= reached_before.get(attack.limit, 0.0),
        "no device was found not to read": attack.is_slow and slow <= slow_before,
        f"{grown_mib:.1f} MiB more": grown_mib > MAX_GROWTH_MIB,
        f"{paused} log lines": paused > MAX_PAUSED_LINES,
    }
    return [fault for fault, is_so in wrong.items() if is_so]


async def until_in(newcomer: Question) -> None:
    """Wait until a newcomer at the same door is in, who tries again, as devices and people do."""
    with anyio.fail_after(END_S):
        while True:
            try:
                return await newcomer()
            except Exception:
                await anyio.sleep(0.1)


@pytest.mark.parametrize("group", GROUPS)
async def test_hub_under_attack_answers_by_the_limits_in_bounded_memory(
    group: list[Attack], tmp_path: Path
) -> None:
    async with arena(tmp_path, group[0]) as opened:
        found = {attack.name: await faults(opened, attack) for attack in group}
    assert found == {attack.name: [] for attack in group}
