"""``make attack``: nobody may stop a hub. Each attack on its own, and what others felt of it.

``python -m tests.scenarios.attack_gate [--minutes 5] [--seed N] [--only WORDS]`` plays the attacks from
within, which take two minutes, those that once stopped a hub, and those that a seed makes, until the minutes
are over. Printed of each: the longest
callback of the hub's event loop, the CPU time of ``/healthz`` with what it waits for (99 of 100), how long a
good device's question and ``/healthz`` waited, the hub's growth, and how soon all was quiet again. The first
two are CPU time of the loop's thread, so that other processes of the machine do not decide. Then ``charges``
compares what each request costs with what its caller is charged. Exit code 1: a bound was passed.
"""

import argparse
import gc
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, perf_counter, thread_time
from typing import Any, Final

import anyio
import httpx2
import msgspec
from anyio import to_thread

from hub.extraction import answers
from hub.extraction.completion import Unusable, completion_of
from tests.bench.machine import pin_to_core, tree_cpu_s
from tests.scenarios import charges
from tests.scenarios.arena import END_S, Arena, LimitedHub, Question, arena, asked
from tests.scenarios.attackers import CORE
from tests.scenarios.attacks import Attack, Door
from tests.scenarios.generated_attacks import FILLINGS, fixed_attacks, generated_attacks
from tests.scenarios.inner_attacks import (
    InnerAttack,
    inner_attacks,
    overgrown,
    prepare,
    settings,
    table_bytes,
)
from tests.scenarios.timed_hub import LONG_CALLBACKS, WAITS
from tests.support.oracle import oracle_process

MAX_CALLBACK_MS: Final = 50.0
MAX_WAIT_S: Final = 1.0
MAX_TIMES_QUIET: Final = 10.0
MAX_TIMES_QUIET_CPU: Final = 2.0
FLOOR_MS: Final = 40.0  # of CPU time: reads of all devices in a turn (10 ms), and a frame or body of a MiB
MAX_GROWTH_MIB: Final = 64.0
QUIET_AFTER_S: Final = 2.0
SECONDS: Final = 1.0  # of one attack
ANSWERS: Final = 400  # of models
HEALTH_ASKED: Final = 300
_SUBNETS: Final = 250


class Felt(msgspec.Struct, frozen=True):
    """What one attack did to the hub and to others. Times in seconds, but for the callback."""

    callback_ms: float
    what_ran: str
    call_s: float
    health_s: float
    grown_mib: float
    quiet_in_s: float
    quiet_s: float  # the same questions before any attack
    answers: dict[str, int]  # that the attacker's sockets got
    cpu_ms: float = 0.0  # of /healthz, with the loop's work before it
    quiet_cpu_ms: float = 0.0
    unanswered: int = 0  # requests of an operator with a token at the attacker's address, on new connections
    overgrown: list[str] = []  # tables, in words


def faults(felt: Felt) -> list[str]:
    """Which bounds were passed, in words."""
    most_s = max(MAX_WAIT_S, MAX_TIMES_QUIET * felt.quiet_s)
    most_cpu_ms = max(FLOOR_MS, MAX_TIMES_QUIET_CPU * felt.quiet_cpu_ms)
    bounds = (
        (felt.callback_ms, MAX_CALLBACK_MS, f"a callback took {felt.callback_ms:.0f} ms: {felt.what_ran}"),
        (felt.cpu_ms, most_cpu_ms, f"/healthz took {felt.cpu_ms:.1f} ms of CPU time with its wait"),
        (felt.unanswered, 0, f"an operator at the same address got no answer to {felt.unanswered} requests"),
        (felt.call_s, most_s, f"a good device waited {felt.call_s:.1f} s"),
        (felt.health_s, most_s, f"/healthz took {felt.health_s:.1f} s"),
        (felt.grown_mib, MAX_GROWTH_MIB, f"the hub grew by {felt.grown_mib:.0f} MiB"),
        (felt.quiet_in_s, QUIET_AFTER_S, f"it was quiet again after {felt.quiet_in_s:.1f} s"),
    )
    return [told for value, most, told in bounds if value > most] + felt.overgrown


class TimedHub(LimitedHub):
    """A hub that writes down its long callbacks, and how long others wait for its loop."""

    program = "tests.scenarios.timed_hub"

    def long_callbacks(self) -> list[tuple[float, str]]:
        """Those since the last look, in milliseconds, with what ran."""
        path = Path(os.environ[LONG_CALLBACKS])
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")  # the hub appends
        return [(float(took), what) for took, _, what in (line.partition(" ") for line in lines)]

    def wait_ms(self) -> float:
        """Return the CPU time that 99 of 100 had to wait for the loop since the last call."""
        path = Path(os.environ[LONG_CALLBACKS]).with_suffix(WAITS)
        waits = sorted(map(float, path.read_text().splitlines() if path.exists() else []))
        path.write_text("")
        return waits[int(len(waits) * 0.99)] if waits else 0.0


class Quiet(msgspec.Struct, frozen=True):
    """Waits of others before any attack.

    Attributes:
        health_cpu_ms: CPU time of the hub for ``/healthz``; *wait_ms*: what 99 of 100 wait for, also.
    """

    wait_s: float
    health_cpu_ms: float
    wait_ms: float

    @property
    def cpu_ms(self) -> float:
        """CPU time of ``/healthz`` and of its wait."""
        return self.health_cpu_ms + self.wait_ms


async def play(arena: Arena, attack: Attack, health: Question, quiet: Quiet) -> Felt:
    """Attack, and look at what others feel."""
    hub = arena.hub
    plan = await arena.aimed(attack)
    beside = Beside(arena, attack, await arena.operator_token())
    run_id = await hub.start_run("agent0") if attack.has_run else None
    others = [beside.ask] if attack.has_operator_beside else []
    felt = await felt_of(arena, lambda: arena.attacker.attack(plan), health, quiet, others)
    if run_id is not None:
        await hub.ask("POST", f"/v1/runs/{run_id}/cancel")
    return msgspec.structs.replace(felt, unanswered=beside.unanswered)


async def play_inside(arena: Arena, attack: InnerAttack, health: Question, quiet: Quiet) -> Felt:
    """Let the hub do the work of *attack*, and look at what others feel, and how its tables grew."""
    folder = arena.hub.folder
    before = await to_thread.run_sync(table_bytes, folder)
    felt = await felt_of(arena, lambda: attack.act(arena), health, quiet)
    after = await to_thread.run_sync(table_bytes, folder)
    return msgspec.structs.replace(felt, overgrown=overgrown(before, after, attack.growth))


async def felt_of(
    arena: Arena,
    act: Callable[[], Awaitable[Mapping[str, int]]],
    health: Question,
    quiet: Quiet,
    others: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> Felt:
    """Return what a good device and ``/healthz`` feel of *act*, beside which *others* ask until its end."""
    hub = arena.hub
    assert isinstance(hub, TimedHub)
    before = hub.memory_mib("VmRSS")
    hub.forget_peak()
    hub.long_callbacks()
    hub.wait_ms()
    waits: list[list[float]] = [[], []]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked, [arena.device, health], math.inf, waits)
        for other in others:
            tasks.start_soon(other)
        answered = await act()
        ended = perf_counter()
        await _until_answered_soon(arena.device, health, quiet.wait_s)
        quiet_in_s = perf_counter() - ended
        tasks.cancel_scope.cancel()
    wait_ms = hub.wait_ms()
    callback_ms, what_ran = max(hub.long_callbacks(), default=(0.0, ""))
    call_s, health_s = (max(one, default=END_S) for one in waits)
    grown = max(0.0, hub.memory_mib("VmHWM") - before)
    return Felt(
        callback_ms,
        what_ran,
        call_s,
        health_s,
        grown,
        quiet_in_s,
        quiet.wait_s,
        dict(answered),
        cpu_ms=wait_ms + quiet.health_cpu_ms,
        quiet_cpu_ms=quiet.cpu_ms,
    )


class Beside:
    """An operator with a token at the address of the attackers, whose every request opens a connection."""

    def __init__(self, arena: Arena, attack: Attack, token: str) -> None:
        self._url = f"http://{arena.ports[Door.OPERATORS]}/v1/status"
        self._address = f"127.0.{attack.plan.subnet}.2"
        self._shown = {"authorization": f"Bearer {token}"}
        self.unanswered = 0

    async def ask(self) -> None:
        """Ask until cancelled."""
        while True:
            transport = httpx2.AsyncHTTPTransport(local_address=self._address)
            async with httpx2.AsyncClient(transport=transport, timeout=END_S) as client:
                try:
                    (await client.get(self._url, headers=self._shown)).raise_for_status()
                except httpx2.HTTPError:
                    self.unanswered += 1
            await anyio.sleep(0.01)


async def felt_quiet(arena: Arena, health: Question) -> Quiet:
    """Ask while nothing else happens."""
    hub = arena.hub
    assert isinstance(hub, TimedHub)
    hub.wait_ms()
    before = await asked([arena.device, health], 1.0)
    wait_ms = hub.wait_ms()
    used = tree_cpu_s(hub.pid)
    for _ in range(HEALTH_ASKED):
        await health()
    health_cpu_ms = (tree_cpu_s(hub.pid) - used) / HEALTH_ASKED * 1e3
    return Quiet(max(max(one) for one in before), health_cpu_ms, wait_ms)


async def _until_answered_soon(call: Question, health: Question, quiet_s: float) -> None:
    with anyio.move_on_after(END_S):
        while True:
            began = perf_counter()
            await health()
            if perf_counter() - began < max(0.1, MAX_TIMES_QUIET * quiet_s):
                return


def answer_of(chance: random.Random) -> str:
    """Return what a model might answer: a record list, with things in it that no list has."""
    parts = [
        *FILLINGS.values(),
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        ":",
        '[" ["',
        "```json",
        "<think>",
        "//",
        "/*",
        "\\u00",
        "'a'",
    ]
    few = chance.choices(parts, k=chance.randint(1, 4))
    return "".join(chance.choices(few, k=chance.randint(1, 3_000)))[: chance.choice((4_096, 65_536))]


def slowest_answer(chance: random.Random) -> tuple[float, str]:
    """Return the longest that reading one of ANSWERS takes the loop, in ms, and how it begins.

    Longer answers than 4,096 characters are read in a thread; of those the completion around them counts.
    """
    worst = (0.0, "")
    gc.collect()
    gc.freeze()  # as the hub does: what is loaded is never looked through again
    for _ in range(ANSWERS):
        text = answer_of(chance)
        body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
        began = thread_time()
        try:
            said = completion_of(body)
            if len(said.text) <= 4_096:
                answers.read(said.text)
        except (Unusable, answers.UnreadableAnswer):
            pass
        worst = max(worst, ((thread_time() - began) * 1e3, f"{text[:40]!r}, {len(text)} characters"))
    return worst


async def main(minutes: float, seed: int, only: str, tell: Callable[[str], None]) -> int:
    """Play, print, and return the exit code."""
    chance = random.Random(seed)
    tell(f"seed {seed}; bounds: callback {MAX_CALLBACK_MS:g} ms, waits {MAX_WAIT_S:g} s or")
    tell(f"{MAX_TIMES_QUIET:g} x quiet, growth {MAX_GROWTH_MIB:g} MiB, quiet after {QUIET_AFTER_S:g} s")
    tell(f"{'attack':50} {'callback':>8} {'cpu':>5} {'call':>6} {'health':>6} {'MiB':>5} {'quiet':>6}")
    bad = 0
    took_ms, what = slowest_answer(chance)
    tell(f"{f'{ANSWERS} answers of a model':50} {took_ms:8.1f}")
    if took_ms > MAX_CALLBACK_MS:
        tell(f"    {what}")
        bad += 1
    inner = [attack for attack in inner_attacks() if only in attack.name]
    found = [*fixed_attacks(SECONDS), *generated_attacks(SECONDS, chance)]
    base = msgspec.structs.replace(found[0], agents=1)
    found = [attack for attack in found if only in attack.name]
    played = 0
    pin_to_core(CORE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[LONG_CALLBACKS] = str(Path(folder) / "callbacks")
        if inner:
            prepare(within := Path(folder) / "within")
            async with (
                oracle_process() as model,
                attacked_hub(within, base, tell, more=settings(model.base_url)) as gate,
            ):
                for one in inner:
                    bad += gate.report(one.name, await play_inside(gate.arena, one, gate.health, gate.quiet))
            bad += gate.silent
        if found:
            (outside := Path(folder) / "outside").mkdir()
            async with attacked_hub(outside, base, tell) as gate:
                end = monotonic() + 60 * minutes
                for number, attack in enumerate(found):
                    if monotonic() > end:
                        break
                    plan = msgspec.structs.replace(attack.plan, subnet=(1 + number % _SUBNETS))
                    attack = msgspec.structs.replace(attack, plan=plan)
                    bad += gate.report(attack.name, await play(gate.arena, attack, gate.health, gate.quiet))
                    played += 1
            bad += gate.silent
    uncharged = await charges.main(only, tell)
    tell(
        f"{played + len(inner)} of {len(found) + len(inner)} attacks, {bad} with faults; again: --seed {seed}"
    )
    return int(bool(bad + uncharged))


class Gate:
    """A hub, before which others ask while it is attacked, and what is told of that.

    Attributes:
        silent: 1 if the watchdog of the hub was silent, which is known at its end.
    """

    def __init__(self, arena: Arena, health: Question, quiet: Quiet, tell: Callable[[str], None]) -> None:
        self.arena, self.health, self.quiet = arena, health, quiet
        self.silent = 0
        self._tell = tell

    def report(self, name: str, felt: Felt) -> bool:
        """Print what was felt of an attack; return whether a bound was passed."""
        self._tell(
            f"{name[:50]:50} {felt.callback_ms:8.1f} {felt.cpu_ms:5.1f}"
            f" {felt.call_s:6.2f} {felt.health_s:6.2f}"
            f" {felt.grown_mib:5.0f} {felt.quiet_in_s:6.2f}  {_most(felt.answers)}"
        )
        wrong = faults(felt)
        for fault in wrong:
            self._tell(f"    {fault}")
        return bool(wrong)

    def read_log(self) -> None:
        """Print what the log of the hub has about its loop."""
        log = self.arena.hub.log()
        self.silent = int("watchdog.silent" in log)
        if self.silent:
            self._tell("    the watchdog was silent")
        for line in log.splitlines():
            if "loop.held" in line:
                self._tell(f"    {line[:300]}")


@asynccontextmanager
async def attacked_hub(
    folder: Path, base: Attack, tell: Callable[[str], None], *, more: str = ""
) -> AsyncIterator[Gate]:
    """Start a hub, ask it while nothing else happens, and print what its log has at the end."""
    async with (
        arena(folder, base, TimedHub, more=more) as opened,
        httpx2.AsyncClient(base_url=f"http://{opened.ports[Door.OPERATORS]}", timeout=END_S) as client,
    ):

        async def health() -> None:
            (await client.get("/healthz")).raise_for_status()

        quiet = await felt_quiet(opened, health)
        tell(f"quiet: /healthz takes {quiet.cpu_ms:.1f} ms of CPU time, and {quiet.wait_s:.2f} s at most")
        gate = Gate(opened, health, quiet, tell)
        yield gate
        gate.read_log()


def _most(answers: dict[str, int]) -> str:
    often = sorted(answers.items(), key=lambda one: -one[1])
    return ", ".join(f"{count} {answer}" for answer, count in often[:3])


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # for the person who runs it


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--only", default="", help="attacks with these words in their name")
    chosen = parser.parse_args()
    sys.exit(anyio.run(main, chosen.minutes, chosen.seed, chosen.only, _tell))
