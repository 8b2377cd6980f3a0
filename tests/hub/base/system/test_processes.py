"""Signals, the terminal and the user, also where the system or the event loop lacks a way."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import anyio
import pytest

from hub.base.system import missing_for_hub
from hub.base.system.processes import STOP, can_ask, read_line, user_name, wait_for_stop


@pytest.mark.parametrize("has_handlers", [True, False])
@pytest.mark.parametrize("number", STOP)
async def test_stop_signal_ends_the_wait_and_restores_the_signal_handler(
    number: signal.Signals, has_handlers: bool
) -> None:
    loop, usual = asyncio.get_running_loop(), signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(5):
        if not has_handlers:

            def lacks(*_: Any) -> None:
                raise NotImplementedError

            patch.setattr(loop, "add_signal_handler", lacks)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_stop)
            await anyio.wait_all_tasks_blocked()
            signal.raise_signal(number)
    assert signal.getsignal(number) in (usual, signal.SIG_DFL)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """What is typed at the terminal of this process."""
    end, typing = os.pipe()
    with open(end) as terminal, open(typing, "w") as typed:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield typed


@pytest.mark.parametrize("has_groups", [True, False])
async def test_line_is_read_from_the_terminal(
    has_groups: bool, typed: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_groups:
        monkeypatch.delattr(os, "tcgetpgrp", raising=False)
    typed.write("yes\n")
    typed.flush()
    with anyio.fail_after(5):
        assert await read_line() == "yes\n"


def test_system_without_process_groups_can_ask_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "tcgetpgrp", raising=False)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
    with sys.stdin:
        assert not can_ask()
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        assert can_ask()


def test_user_name_without_pwd_is_taken_from_windows_variables_or_the_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pwd", None)
    assert user_name() == f"user {os.getuid()}"
    monkeypatch.setenv("USERDOMAIN", "PC")
    monkeypatch.setenv("USERNAME", "anna")
    assert user_name() == "PC\\anna"


def test_missing_modules_and_signals_for_a_hub_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = missing_for_hub()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert {"fcntl", "signal.SIGHUP"} | set(known) == set(missing_for_hub())
