"""The inside of every server under measurement: it waits for its devices, then does what it is asked for.

A server is a process that is handed a configuration, says which port it has
bound, says when all devices are here, and from then on takes one command a line
and answers it with one line. What is measured is the same code for each of them;
only ``Peer`` differs.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final, NoReturn, Protocol

import anyio
import anyio.to_thread
import msgspec
import uvloop

from tests.bench.machine import allow_open_files, cpu_seconds, pin_to_core, rss_bytes

CORE: Final = 0
WARM_S: Final = 0.3
_TOUCHED_AT_ONCE: Final = 100
_ARRIVE_S: Final = 240.0  # for all devices; a server whose client has failed does not stay behind


class Peer(Protocol):
    """A connected device, as one of the servers sees it."""

    async def call(self) -> object:
        """Call a tool and wait for its answer."""
        ...

    async def take_files(self, file_set: str, taken: Callable[[], None]) -> None:
        """Let the device upload and call *taken* for each file, until cancelled."""
        ...


class Order(msgspec.Struct, kw_only=True):
    """Task of a server."""

    do: str
    peers: int = 0
    in_flight: int = 1
    seconds: float = 1.0
    file_set: str = ""


class Arrivals:
    """Devices that have come, and the moment when all have."""

    def __init__(self, expected: int) -> None:
        self.peers: list[Peer] = []
        self.complete = anyio.Event()
        self._expected = expected

    def add(self, peer: Peer) -> None:
        """One more is here."""
        self.peers.append(peer)
        if len(self.peers) == self._expected:
            self.complete.set()


async def obey(port: int, arrivals: Arrivals) -> NoReturn:
    """Say where the server is, wait for everybody, then take orders until the input ends.

    The process ends here too: saying goodbye to thousands of devices is not measured.
    """
    gc.collect()
    empty = rss_bytes()
    say({"port": port, "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0]})
    with anyio.fail_after(_ARRIVE_S):
        await arrivals.complete.wait()
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        order = msgspec.json.decode(line, type=Order)
        peers = arrivals.peers[: order.peers]
        match order.do:
            case "calls":
                say(await _calls(peers, order))
            case "files":
                say(await _files(peers, order))
            case "memory":
                gc.collect()
                say({"bytes": (rss_bytes() - empty) / len(arrivals.peers)})
            case "touch":
                await _touch(arrivals.peers)
                say({})
            case _:
                raise AssertionError(f"this server knows nothing of {order.do}")
    os._exit(0)


def say(values: dict[str, Any]) -> None:
    """One line to whoever started this process."""
    print(json.dumps(values), flush=True)


async def _keep_calling(
    peers: Sequence[Peer], in_flight: int, seconds: float, note: Callable[[float], None]
) -> None:
    """Call each device, as often as it answers, with so many calls open on each; *note* their seconds."""
    end = perf_counter() + seconds

    async def work(peer: Peer) -> None:
        done = 0.0
        while done < end:  # once at least, however late this process gets the core
            began = perf_counter()
            await peer.call()
            done = perf_counter()
            note(done - began)

    async with anyio.create_task_group() as tasks:
        for peer in peers:
            for _ in range(in_flight):
                tasks.start_soon(work, peer)


async def _calls(peers: Sequence[Peer], order: Order) -> dict[str, Any]:
    calls: list[float] = []
    await _keep_calling(peers, order.in_flight, WARM_S, calls.append)
    calls.clear()
    gc.collect()
    began, used = perf_counter(), cpu_seconds()
    await _keep_calling(peers, order.in_flight, order.seconds, calls.append)
    took, used = perf_counter() - began, cpu_seconds() - used
    p99 = sorted(calls)[len(calls) * 99 // 100]
    return {"rate": len(calls) / took, "cpu_us": used / len(calls) * 1e6, "p99_ms": p99 * 1e3}


async def _files(peers: Sequence[Peer], order: Order) -> dict[str, Any]:
    """Files a second, all devices together."""
    files = 0

    def taken() -> None:
        nonlocal files
        files += 1

    async with anyio.create_task_group() as tasks:
        for peer in peers:
            tasks.start_soon(peer.take_files, order.file_set, taken)
        await anyio.sleep(WARM_S)
        before, began, used = files, perf_counter(), cpu_seconds()
        await anyio.sleep(order.seconds)
        while files == before:  # a process that did not get the core has taken none
            await anyio.sleep(order.seconds)
        taken_in, took, used = files - before, perf_counter() - began, cpu_seconds() - used
        tasks.cancel_scope.cancel()
    for peer in peers:
        await peer.call()  # what was under way is here by now
    return {"rate": taken_in / took, "cpu_us": used / taken_in * 1e6}


async def _touch(peers: Sequence[Peer]) -> None:
    """One round trip on every connection."""
    for start in range(0, len(peers), _TOUCHED_AT_ONCE):
        async with anyio.create_task_group() as tasks:
            for peer in peers[start : start + _TOUCHED_AT_ONCE]:
                tasks.start_soon(peer.call)


def run_server(serve: Callable[[], Awaitable[None]], devices: int) -> None:
    """Run a server's ``serve`` on uvloop and on its own core, until its input ends."""
    pin_to_core(CORE)
    allow_open_files(devices + 200)
    anyio.run(serve, backend_options={"loop_factory": uvloop.new_event_loop})
