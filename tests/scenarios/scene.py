"""A hub, a device and the wire between them, as real processes over one folder.

The device connects to the wire and the wire to the hub, so a fault can be put at an
exact point: just before a certain frame arrives at the other side.
"""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.support.oracle import Oracle, plant
from tests.support.processes import POLL_S, SETTINGS, DeviceProcess, HubProcess, Program, model_at
from tests.support.proxy import Direction, Wire, wire

FAULT_TIMEOUT_S = 30.0  # for the point of a fault to be reached
Fault = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Point:
    """Just before the *nth* frame of a type arrives, counted from when the point was set.

    Attributes:
        answers: instead of *nth*: the frame with which so many different calls are answered.
        arrives: whether the frame arrives after all, once the fault has happened.
    """

    name: str
    direction: Direction
    type: str
    nth: int = 1
    answers: int | None = None
    arrives: bool = False

    def __str__(self) -> str:
        return self.name


class Scene:
    """What a scenario plays in. Made by ``scene``; ``hub`` runs, ``device`` is to be started."""

    def __init__(
        self, folder: Path, hub: HubProcess, device: DeviceProcess, wire: Wire, opened: AsyncExitStack
    ) -> None:
        self._opened = opened
        self.folder = folder
        self.hub = hub
        self.device = device
        self.wire = wire
        self.seen: list[tuple[Direction, dict[str, Any]]] = []
        self._point: Point | None = None
        self._passed = 0
        self._answered: set[str] = set()
        self.calls_before = 0  # that went to the device in frames before the point
        self._queries: set[str] = set()  # ids of calls that ask for rows
        self._fault: Fault | None = None
        self._happened = anyio.Event()
        wire.on_frame = self._on_frame

    def at(self, point: Point, fault: Fault) -> None:
        """Let *fault* happen at *point*; await ``happened`` for it."""
        self._point, self._fault, self._passed = point, fault, 0
        self._happened = anyio.Event()

    async def happened(self) -> None:
        """Until the fault has happened.

        Raises:
            AssertionError: its point was not reached.
        """
        with anyio.move_on_after(FAULT_TIMEOUT_S):
            await self._happened.wait()
            return
        raise AssertionError(
            f"never came to: {self._point}\n{self.hub.log()[-4000:]}{self.device.log()[-2000:]}"
        )

    async def kill_hub(self) -> None:
        """SIGKILL, for the hub."""
        self.wire.hub_url = None
        await self.hub.kill()

    async def stop_hub(self) -> int:
        """SIGTERM; the exit code. Whoever comes to the wire meanwhile waits for the next start."""
        self.wire.hub_url = None
        return await self.hub.stop()

    async def start_hub(self) -> None:
        """Start the hub again on the same state; it has another port then, as the wire knows."""
        await self.hub.start()
        self.wire.hub_url = await self.hub.device_url()

    async def restart_device(self) -> None:
        """SIGKILL, and another process in its place."""
        await self.device.kill()
        await self.device.start()

    async def hold_device_off(self) -> None:
        """From now on the device gets no further than the wire."""
        self.wire.hub_url = None

    async def let_device_in(self) -> None:
        """The way to the hub is free again."""
        self.wire.hub_url = await self.hub.device_url()

    def also(self, program: Program) -> None:
        """One more program, which is gone with the scene."""
        self._opened.push_async_callback(program.close)

    async def has_acknowledged(self, count: int, *, within_s: float = 30.0) -> None:
        """Until the hub keeps so many answers."""
        with anyio.fail_after(within_s):
            while self.outbox().get("ACKED", 0) < count:
                await anyio.sleep(POLL_S)

    async def comes_to(self, run_id: str, state: str, *, within_s: float = 30.0) -> dict[str, Any]:
        """The run, once it is in *state*."""
        run: dict[str, Any] = {}
        with anyio.move_on_after(within_s):
            while (run := await self.hub.get(f"/v1/runs/{run_id}"))["state"] != state:
                await anyio.sleep(POLL_S)
            return run
        raise AssertionError(f"the run did not come to {state}: {run}\n{self.hub.log()[-4000:]}")

    async def has_connected(self, *, within_s: float = 30.0) -> None:
        """Until the hub knows the device as connected."""
        with anyio.fail_after(within_s):
            while not (await self.hub.get("/v1/status"))["devices_connected"]:
                await anyio.sleep(POLL_S)

    def sent_to_device(self, type: str) -> list[dict[str, Any]]:
        """Frames of a type on their way to the device, those that did not arrive too."""
        return [frame for way, frame in self.seen if way == "to_device" and frame["type"] == type]

    def items(self) -> list[str]:
        """The titles of all tasks in the device's database, sorted: one entry for each row."""
        return sorted(title for (title,) in rows(self.device.database, "SELECT title FROM tasks"))

    def calls(self) -> int:
        """How many calls the device's database knows that were to change something."""
        ((count,),) = rows(self.device.database, "SELECT count(*) FROM calls WHERE action <> 'query'")
        return int(count)

    def outbox(self) -> dict[str, int]:
        """How many calls stand in each state in the hub's database."""
        return dict(rows(self.folder / "hub.db", "SELECT state, count(*) FROM run_calls GROUP BY state"))

    async def _on_frame(self, direction: Direction, frame: dict[str, Any]) -> bool:
        point, before = self._point, len(self.seen)
        passed = [
            self._passes(direction, one) for one in (*frame.get("calls", ()), *frame.get("results", ()))
        ]
        is_reached = any(passed) if passed else self._passes(direction, frame)
        if point is None or not is_reached:
            return True
        self._point = None
        assert self._fault is not None
        self.calls_before = sum(
            way == "to_device" and one["type"] == "tool_call" and one["id"] not in self._queries
            for way, one in self.seen[:before]
        )
        with anyio.CancelScope(shield=True):  # the killed side's end of the wire must not cut this short
            await self._fault()
        self._happened.set()
        return point.arrives

    def _passes(self, direction: Direction, frame: dict[str, Any]) -> bool:
        """Keep a frame, or a call or answer of a batch; whether the point is reached by it."""
        self.seen.append((direction, frame))
        if frame["type"] == "tool_call" and frame["action"] in (
            "query",
            "rows.list",
            "rows.known",
            "rows.agenda",
        ):
            self._queries.add(frame["id"])
        if frame.get("id") in self._queries:
            return False  # no item moves by it: a point that speaks of calls means others
        point = self._point
        is_reached = point is not None and self._is_reached(point, direction, frame)
        if frame["type"] == "tool_result":
            self._answered.add(frame["id"])
        return is_reached

    def _is_reached(self, point: Point, direction: Direction, frame: dict[str, Any]) -> bool:
        if (direction, frame["type"]) != (point.direction, point.type):
            return False
        self._passed += 1
        if point.answers is not None:
            return len(self._answered | {frame["id"]}) == point.answers
        return self._passed == point.nth


async def is_asked(oracle: Oracle, *, within_s: float = 30.0) -> None:
    """Until the model was asked something."""
    with anyio.fail_after(within_s):
        while not oracle.stats.calls:
            await anyio.sleep(POLL_S)


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in a SQLite file that another process may have open."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


@asynccontextmanager
async def scene(
    folder: Path,
    files: Mapping[str, str],
    *,
    oracle: Oracle | None = None,
    settings: str = "",
    kind: type[HubProcess] = HubProcess,
) -> AsyncIterator[Scene]:
    """A hub that runs, and a device over *files* that is to be started. All is gone afterwards.

    Args:
        oracle: the model; without one, rules alone find items.
        settings: more lines of hub.toml, behind the others.
        kind: of hub.
    """
    write(folder, files)
    async with AsyncExitStack() as opened:
        base_url = None
        if oracle is not None:
            tasks = await opened.enter_async_context(anyio.create_task_group())
            opened.callback(tasks.cancel_scope.cancel)
            base_url = await tasks.start(oracle.serve)
        line = await opened.enter_async_context(wire())
        hub = kind(folder, settings=SETTINGS.format(model=model_at(base_url) if base_url else "") + settings)
        opened.push_async_callback(hub.close)
        await hub.start()
        line.hub_url = await hub.device_url()
        device = DeviceProcess(folder, line.url, await hub.token())
        opened.push_async_callback(device.close)
        yield Scene(folder, hub, device, line, opened)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write *files* into the folder that the device shares."""
    for name, text in files.items():
        path = folder / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check_boxes(count: int, *, each: int = 2) -> tuple[dict[str, str], list[str]]:
    """So many files with *each* check boxes, and the titles in them, sorted: what rules can find."""
    titles = {
        f"page{number:03}.md": [f"Task {number:03}-{box}" for box in range(each)] for number in range(count)
    }
    files = {
        name: f"# {name}\n\n" + "".join(f"- [ ] {title}\n" for title in boxes)
        for name, boxes in titles.items()
    }
    return files, sorted(title for boxes in titles.values() for title in boxes)


def sentences(count: int) -> tuple[dict[str, str], list[str]]:
    """So many files with a sentence that only a model can read, and the titles it finds, sorted."""
    files = {
        f"letter{number:03}.md": "We met on Monday, and it rained. "
        + plant("Anna", f"send offer {number:03}", "2026-12-01", f"K-{number:04}")
        + " Then we went home.\n"
        for number in range(count)
    }
    return files, sorted(f"send offer {number:03}" for number in range(count))


def are_there_once(found: Iterable[str], planted: Iterable[str]) -> None:
    """Fails, saying which, unless each planted title was found exactly once and nothing else."""
    counted, wanted = Counter(found), Counter(planted)
    assert counted == wanted, f"lost {wanted - counted}, too many {counted - wanted}"
