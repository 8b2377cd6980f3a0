"""Stop signals, questions at the terminal, and the user's name, on each operating system."""

import asyncio
import getpass
import os
import signal
import sys
from threading import Thread
from types import FrameType
from typing import Final

import anyio

STOP: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)


async def wait_for_stop() -> None:
    """Wait until a signal asks the process to end; the signals have their usual effect again then."""
    try:
        with anyio.open_signal_receiver(*STOP) as signals:
            async for _ in signals:
                return
    except NotImplementedError:  # by the event loop of Windows
        await _wait_for_handler()


async def _wait_for_handler() -> None:
    loop, is_stopped = asyncio.get_running_loop(), anyio.Event()

    def stop(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(is_stopped.set)

    before = {number: signal.signal(number, stop) for number in STOP}
    try:
        await is_stopped.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def can_ask() -> bool:
    """Return True if a person can be asked at the terminal; reading in the background stops a process."""
    if not sys.stdin.isatty():
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except AttributeError:  # Windows has no groups of processes
        return True


async def read_line() -> str:
    """Return the next line from the terminal. Can be cancelled."""
    if hasattr(os, "tcgetpgrp"):  # elsewhere, only sockets can be waited for
        await anyio.wait_readable(sys.stdin.fileno())
        return sys.stdin.readline()
    return await _read_line_apart()


async def _read_line_apart() -> str:
    """Read a line in a thread, which goes on after a cancellation but does not keep the process alive."""
    loop, is_read, lines = asyncio.get_running_loop(), anyio.Event(), list[str]()

    def read() -> None:
        lines.append(sys.stdin.readline())
        loop.call_soon_threadsafe(is_read.set)

    Thread(target=read, name="terminal", daemon=True).start()
    await is_read.wait()
    return lines[0]


def user_name() -> str:
    """Return the name of this process's user; on Windows with the domain, as its service manager wants it."""
    if domain := os.environ.get("USERDOMAIN"):
        return f"{domain}\\{os.environ.get('USERNAME', '')}"
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # the system has no list of users, or not this one
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
