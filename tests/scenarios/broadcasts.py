"""A broadcast to the leads of many boards at several gateways, some of which are down.

``python -m tests.scenarios.broadcasts`` (``make soak``) does it at full size: 300 boards over five
gateways, two of them down, and three leads that a gateway refuses to make. The answer comes in time
and names each board; then what failed is said again by the broadcast's id, the gateways come back, and
every lead has the text once. The suite does it small.

The hub is a process of its own; the gateways are fakes in this one.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import msgspec

from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing

TEXT = "The harvest is on Sunday: say what you still need."
WAIT_S = 5.0  # that the answer waits for deliveries
ANSWER_S = 10.0  # by then it is there
REFUSALS = 3  # leads that the first gateway does not make at once
END_S = 300.0
GROWTH_MIB = 64.0
_REFUSED = {"code": "INVALID_REQUEST", "message": "the configuration cannot be written just now"}
_GATEWAY = """
[[gateways]]
name = "{name}"
url = "{url}"
token = {{ file = "gateway.token" }}
main_agent = "main"
"""


class Went(msgspec.Struct, frozen=True):
    """How it went.

    Attributes:
        answered_s: until the first answer; *alive_s*: until all had it whose gateway was there.
        first: the counts of the first look when these had it; *codes*: of boards that had it not.
        resumed: after what failed was said again; *last*: when all gateways were back.
        told_once: leads that have the text once; *more_often*: those that have it twice or more.
        growth_mib: of the hub's memory, at its peak, from before the broadcast.
    """

    answered_s: float
    alive_s: float
    all_s: float
    first: dict[str, Any]
    codes: dict[str, int]
    resumed: dict[str, Any]
    last: dict[str, Any]
    told_once: int
    more_often: int
    made_twice: int
    growth_mib: float

    def faults(self, boards: int) -> list[str]:
        """What was not as it has to be."""
        is_right = {
            "the first answer came late": self.answered_s < ANSWER_S,
            "the first answer said ok": self.first["ok"] is False,
            "a board is missing in the result": self.first["boards"] == boards,
            "not all had it in the end": (self.last["ok"], self.last["sent"]) == (True, boards),
            "a lead was told twice, or never": (self.told_once, self.more_often) == (boards, 0),
            "a lead was made twice": self.made_twice == 0,
            "memory grew": self.growth_mib < GROWTH_MIB,
        }
        return [fault for fault, is_so in is_right.items() if not is_so]


async def tell_all(folder: Path, *, boards: int, gateways: int, down: int) -> Went:
    """Do it, in a hub of its own."""
    async with AsyncExitStack() as opened:
        there = [
            await opened.enter_async_context(fake_gateway(f"g{number}")) for number in range(1, gateways + 1)
        ]
        token = anyio.Path(folder / "gateway.token")
        await token.write_text(there[0].token)
        await token.chmod(0o600)
        declared = "".join(_GATEWAY.format(name=one.name, url=one.url) for one in there)
        hub = HubProcess(folder, settings=SETTINGS.format(model="") + declared)
        await opened.enter_async_context(closing(hub))
        await hub.start()
        await _until(
            hub, "/v1/gateways", lambda told: all(one["state"] == "ready" for one in told["gateways"])
        )
        for number in range(boards):
            body = {"name": f"board-{number:03}", "gateway": there[number % gateways].name}
            await hub.post("/v1/boards", body)
        for lost in there[gateways - down :]:
            await lost.stop(killed=True)
        await _until(hub, "/v1/status", lambda told: told["gateways_ready"] == gateways - down)
        return await _tell(hub, there, boards=boards, down=down)


async def _tell(hub: HubProcess, gateways: Sequence[FakeGateway], *, boards: int, down: int) -> Went:
    alive = sum(number % len(gateways) < len(gateways) - down for number in range(boards))
    gateways[0].fault("agents.create", "refused", _REFUSED, times=REFUSALS)
    before, began = _rss_mib(hub), perf_counter()
    answer = await hub.post(f"/v1/broadcasts?wait_s={WAIT_S:g}", {"content": TEXT, "kind": "handoff"})
    answered_s = perf_counter() - began
    path = f"/v1/broadcasts/{answer['id']}"
    await _until(hub, f"{path}?limit=1", lambda told: told["sent"] + told["failed"] == alive)
    alive_s = perf_counter() - began
    first = await _whole(hub, path)
    codes: dict[str, int] = {}
    for one in first["results"]:
        if not one["ok"]:
            codes[one["code"]] = codes.get(one["code"], 0) + 1
    resumed = await hub.post(f"{path}/resume?wait_s=1")
    resumed = await _until(hub, f"{path}?limit=1", lambda told: told["sent"] == alive)
    for lost in gateways[len(gateways) - down :]:
        await lost.start()
        await hub.post(f"/v1/gateways/{lost.name}/reconnect")
    last = await _until(hub, f"{path}?limit=1", lambda told: told["settled_at"] and not told["waiting"])
    all_s = perf_counter() - began
    heard = [
        sum(TEXT in said for said in gateway.said(f"agent:{agent}:main"))
        for gateway in gateways
        for agent in gateway.agents
        if agent.startswith("lead-")
    ]
    return Went(
        answered_s=answered_s,
        alive_s=alive_s,
        all_s=all_s,
        first=_counts(first),
        codes=codes,
        resumed=_counts(resumed),
        last=_counts(last),
        told_once=heard.count(1),
        more_often=sum(count > 1 for count in heard),
        made_twice=sum(one.count("agents.create") for one in gateways) - boards - REFUSALS,
        growth_mib=_peak_mib(hub) - before,
    )


def _counts(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("ok", "boards", "sent", "failed", "waiting", "rounds")}


async def _whole(hub: HubProcess, path: str) -> dict[str, Any]:
    """A broadcast with all its results, page by page."""
    told = await hub.get(f"{path}?limit=100")
    cursor = told["next_cursor"]
    while cursor:
        page = await hub.get(f"{path}?limit=100&cursor={cursor}")
        told["results"] += page["results"]
        cursor = page["next_cursor"]
    assert len({one["board_id"] for one in told["results"]}) == told["boards"] == len(told["results"])
    return dict(told)


async def _until(hub: HubProcess, path: str, is_so: Callable[[Any], Any]) -> Any:
    told: Any = None
    with anyio.move_on_after(END_S):
        while not is_so(told := await hub.get(path)):
            await anyio.sleep(POLL_S * 4)
        return told
    raise AssertionError(f"{path} is {told}\n{hub.log()[-4000:]}")


def _rss_mib(hub: HubProcess) -> float:
    return _status(hub, "VmRSS")


def _peak_mib(hub: HubProcess) -> float:
    return _status(hub, "VmHWM")


def _status(hub: HubProcess, name: str) -> float:
    assert hub.process is not None
    lines = Path(f"/proc/{hub.process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


async def main(boards: int, gateways: int, down: int) -> int:
    """Prints how it went; 1 when something was not as it has to be."""
    with tempfile.TemporaryDirectory() as folder:
        went = await tell_all(Path(folder), boards=boards, gateways=gateways, down=down)
    faults = went.faults(boards)
    print(  # noqa: T201  # for the person who runs it
        f"{boards} boards, {gateways} gateways, {down} down: answered after {went.answered_s:.1f} s;"
        f" those whose gateway was there after {went.alive_s:.1f} s: {went.first}, without it: {went.codes};"
        f" resumed: {went.resumed}; all back after {went.all_s:.1f} s: {went.last};"
        f" told once: {went.told_once}, more often: {went.more_often}; memory grew by"
        f" {went.growth_mib:.1f} MiB{''.join(f'; WRONG: {fault}' for fault in faults)}"
    )
    return int(bool(faults))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--boards", type=int, default=300)
    options.add_argument("--gateways", type=int, default=5)
    options.add_argument("--down", type=int, default=2)
    chosen = options.parse_args()
    sys.exit(anyio.run(main, chosen.boards, chosen.gateways, chosen.down))
