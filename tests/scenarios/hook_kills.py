"""kill -9 of a live hub while others post to its webhook, again and again.

``python -m tests.scenarios.hook_kills --kills 60`` posts from several senders, each of which posts a delivery
again until it is answered with 202, as senders of webhooks do. It fails when an item is not at the device
exactly once. The suite does it small.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec

from hub.clock import Chance, SystemClock
from tests.scenarios.deaths import TITLES
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle, plant
from tests.support.processes import model_at
from tests.support.proxy import Wire, wire
from tests.support.webhooks import signed

LIVES_S = (0.0, 1.0)
SENDERS = 4
SECRET = "what both of them know"  # what must not be found anywhere
_PAUSE_S = 0.05
_END_S = 40.0

_HUB = """\
[limits]
connected_s = 0.1
restart_hold_s = 0.0
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
[listen.webhooks]
address = "127.0.0.1:0"
{model}
[[connectors]]
name = "builds"
provider = "webhook"
secret = {{ file = "builds.secret" }}
[[agents]]
name = "builds"
device = "desk"
connector = "builds"
push = true
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
_NO_SPREAD = ("--given", "hub.runs.dispatcher:SPREAD_EACH_S=0.0")


class Toll(msgspec.Struct, frozen=True):
    """What became of it all. *again*: posts of what had been posted before."""

    kills: int
    again: int
    kept: int
    waiting: int
    planted: Counter[str]
    found: Counter[str]

    @property
    def is_well(self) -> bool:
        return self.planted == self.found and self.kept == self.planted.total() and not self.waiting


class Senders:
    """Those who post, the hub that they post to, and a device in this process."""

    def __init__(
        self, hub: FaultyHub, device: RunningDevice, line: Wire, chance: Chance, folder: Path
    ) -> None:
        self._hub, self._device, self._wire = hub, device, line
        self._chance, self._folder = chance, folder
        self._url: str | None = None
        self._planted: Counter[str] = Counter()
        self._kills = self._again = 0
        self._is_over = False

    async def outlive(self, kills: int, *, lives_s: tuple[float, float] = LIVES_S) -> Toll:
        """Kill the hub so often, and on until something was posted twice; then let all come to its end."""
        async with anyio.create_task_group() as posting:
            for number in range(SENDERS):
                posting.start_soon(self._keep_posting, number)
            for life in count():
                await self._up()
                if life >= kills and self._again:
                    break
                await anyio.sleep(self._chance.uniform(*lives_s))
                self._wire.hub_url = self._url = None
                await self._hub.kill()
                self._kills += 1
            self._is_over = True  # each posts what it has begun to post
        await self._all_is_there()
        ((kept, waiting),) = self._ask("SELECT count(*), count(body) FROM posted")
        return Toll(self._kills, self._again, kept, waiting, self._planted, self._found())

    async def _up(self) -> None:
        await self._hub.start()
        told = (await self._hub.get("/v1/status"))["listeners"]
        self._wire.hub_url, self._url = f"ws://{told['devices']}", f"http://{told['webhooks']}/hooks/builds"

    async def _keep_posting(self, sender: int) -> None:
        for number in count():
            if self._is_over:
                return
            id = f"msg-{sender}-{number:05}"
            title = f"answer post {sender} {number:05}"
            self._planted[title] += 1
            text = plant("Ana", title, "2026-12-01", f"K-{sender}{number:05}")
            body = msgspec.json.encode({"title": f"Post {id}", "text": text})
            for times in count():
                self._again += times > 0 and self._url is not None
                if await self._is_taken(id, body):
                    break
                await anyio.sleep(_PAUSE_S)
            await anyio.sleep(_PAUSE_S)

    async def _is_taken(self, id: str, body: bytes) -> bool:
        if self._url is None:
            return False
        headers = signed(SECRET, body, SystemClock().now(), id=id)
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
                answer = await client.post(self._url, content=body, headers=headers)
        except (httpx2.TransportError, OSError):
            return False
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202

    async def _all_is_there(self) -> None:
        """Nobody starts a run: what was posted before a death is told after the start."""
        with anyio.move_on_after(_END_S):
            while not self._planted <= self._found() or self._ask(
                "SELECT 1 FROM posted WHERE settled_at IS NULL"
            ):
                await anyio.sleep(_PAUSE_S)
            return
        missing = list((self._planted - self._found()).elements())[:5]
        states = self._ask("SELECT state, outcome, reason, trigger_kind FROM runs ORDER BY id")[-8:]
        raise AssertionError(f"not all came: {missing} {states}\n{self._hub.log()[-3000:]}")

    def _found(self) -> Counter[str]:
        return Counter(title for (title,) in rows(self._device.db, TITLES))

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self._folder / "hub.db", query)


@asynccontextmanager
async def senders(folder: Path, *, seed: int, is_forked: bool = False) -> AsyncIterator[Senders]:
    """A hub that does not live yet, with a webhook, and a device that it knows."""
    async with AsyncExitStack() as opened:
        line = await opened.enter_async_context(wire())
        line.tells_restart = True
        secret = folder / "builds.secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        tasks = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(tasks.cancel_scope.cancel)
        model = model_at(await tasks.start(Oracle().serve))
        hub = FaultyHub(folder, settings=_HUB.format(model=model), is_forked=is_forked)
        hub.faults = _NO_SPREAD
        opened.push_async_callback(hub.close)
        await hub.start()
        token = await hub.token("desk")
        await hub.kill()
        state = folder / "desk"
        state.mkdir()
        device = await opened.enter_async_context(open_device(line.url, state, token))
        yield Senders(hub, device, line, SeededChance(seed), folder)


async def main(kills: int, seed: int) -> int:
    """Prints what became of it; 1 when an item is lost or doubled."""
    with tempfile.TemporaryDirectory() as folder:
        async with senders(Path(folder), seed=seed) as place:
            toll = await place.outlive(kills)
    lost, doubled = toll.planted - toll.found, toll.found - toll.planted
    print(  # noqa: T201  # for the person who runs it
        f"{toll.kills} kills of a hub that others post to (seed {seed})\n"
        f"posts: {toll.planted.total()} deliveries, posted again {toll.again} times, {toll.kept} kept,"
        f" {toll.waiting} with their bodies\n"
        f"items: {toll.found.total()} found, {lost.total()} lost, {doubled.total()} doubled"
    )
    return int(not toll.is_well)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=60)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    sys.exit(anyio.run(main, chosen.kills, chosen.seed))
