"""Two hundred writes of one soul while sockets break, gateways restart, hubs die and others write too."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from protocol.coordination import SoulWriteState
from storage.coordination import souls
from tests.hub.coordination.souls import FastClock, SoulBench, open_souls
from tests.support.clock import SeededChance
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.faults import Faults, When

FEW_ROUNDS, ROUNDS = 10, 200
FAST = 300.0
GETS, SETS = "agents.files.get", "agents.files.set"
BUSY = {"code": "UNAVAILABLE", "message": "busy", "retryable": True, "retryAfterMs": 200}
SOUL = "SOUL.md"
FAULTS: tuple[When, ...] = ("before", "after", "refused")


class Told(dict[str, str]):
    """An agent's files, which remember every write."""

    def __init__(self, files: dict[str, str]) -> None:
        super().__init__(files)
        self.writes: list[str] = []

    def __setitem__(self, name: str, content: str) -> None:
        self.writes.append(content)
        super().__setitem__(name, content)


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway("west", clock=FastClock(FAST)) as opened:
        yield opened


@pytest.fixture
async def bench(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[SoulBench]:
    async with open_souls(tmp_path, gateway, fast=FAST) as opened:
        yield opened


Blow = Callable[[SoulBench, FakeGateway, Told], Awaitable[None]]


class Disorder:
    """What goes wrong in one round, decided by its number."""

    def __init__(self, number: int) -> None:
        self._chance = SeededChance(number)
        self.theirs = f"theirs {number}" if self._comes(0.3) else None
        self.is_theirs_first = self.theirs is not None and self._comes(0.3)
        self.has_restart = self._comes(0.15)
        self.has_death = self._comes(0.25)

    def _comes(self, likely: float) -> bool:
        return self._chance.uniform(0, 1) < likely

    def _number(self, most: int) -> int:
        """One of 0 to *most*."""
        return int(self._chance.uniform(0, most + 0.999))

    def arrange(self, gateway: FakeGateway, files: Told) -> None:
        gateway._faults = Faults()  # none of the round before
        if self.theirs is not None and self.is_theirs_first:
            files[SOUL] = self.theirs  # before the hub reads: a conflict however fast the machine is
        for method in (GETS, SETS):
            if self._comes(0.5):
                when = FAULTS[self._number(2)]
                gateway.fault(method, when, BUSY if when == "refused" else None)

    async def strike(self, bench: SoulBench, gateway: FakeGateway, files: Told) -> None:
        """All of it, at moments of its own, while the write is under way."""
        blows: list[Blow] = [self._write_theirs] if self.theirs and not self.is_theirs_first else []
        blows += [self._restart] if self.has_restart else []
        blows += [self._die] if self.has_death else []
        blows.sort(key=lambda _: self._chance.uniform(0, 1))
        for blow in blows:
            await anyio.sleep(self._chance.uniform(0, 0.03))
            await blow(bench, gateway, files)

    async def _write_theirs(self, _: SoulBench, __: FakeGateway, files: Told) -> None:
        assert self.theirs is not None
        files[SOUL] = self.theirs

    async def _restart(self, _: SoulBench, gateway: FakeGateway, __: Told) -> None:
        await gateway.restart(killed=self._comes(0.5))

    async def _die(self, bench: SoulBench, _: FakeGateway, __: Told) -> None:
        await bench.kill()
        bench.start()


@pytest.mark.parametrize("rounds", [FEW_ROUNDS, pytest.param(ROUNDS, marks=pytest.mark.soak)])
async def test_soul_writes_under_random_faults_are_done_once_without_overwriting(
    bench: SoulBench, gateway: FakeGateway, rounds: int
) -> None:
    files = Told(gateway.agents["worker"].files)
    gateway.agents["worker"].files = files
    ends: dict[SoulWriteState, int] = {}
    for number in range(rounds):
        disorder, ours, before = Disorder(number), f"ours {number}", files[SOUL]
        files.writes.clear()
        disorder.arrange(gateway, files)
        asked = await bench.put(ours, souls.digest(before), wait_s=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disorder.strike, bench, gateway, files)
        write = await bench.writer.settled_or(asked.id, 6_000)

        about = f"round {number}: {write.state}, {files.writes}, {write.problem}"
        assert write.state in (SoulWriteState.DONE, SoulWriteState.CONFLICT), about
        assert files.writes.count(ours) <= 1, about
        if disorder.theirs is None:
            assert (write.state, files[SOUL]) == (SoulWriteState.DONE, ours), about
        else:  # whoever wrote last is there: ours only where it replaced what was read
            assert files[SOUL] == disorder.theirs, about
            assert write.state is SoulWriteState.DONE or write.found_sha256 == souls.digest(files[SOUL]), (
                about
            )
        assert ours in [text for _, text, _ in await bench.history(last=4)], about
        assert write.state is SoulWriteState.CONFLICT or not disorder.is_theirs_first, about
        ends[write.state] = ends.get(write.state, 0) + 1
    assert ends[SoulWriteState.CONFLICT] >= rounds / 20 and ends[SoulWriteState.DONE] >= rounds / 2
