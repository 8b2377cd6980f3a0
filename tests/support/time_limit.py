"""Lets a test that hangs fail by its name, not with the whole run; a plug-in of pytest."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

# For each of setting up, calling and tearing down.
LONGEST_S: Final = 120.0
_LONGEST_SLOW_S: Final = 300.0  # of a test that is marked so
AGAIN_S: Final = 5.0  # what hangs may swallow an alarm, and then hang on


class TookTooLong(SystemExit):
    """Raised in what hangs. An event loop hands on a SystemExit, and no family takes it for a failed case."""


@contextmanager
def _limited(item: pytest.Item) -> Iterator[None]:
    """End the block by TookTooLong once it has taken too long, even where the block swallows that."""
    if not hasattr(signal, "SIGALRM"):  # Windows has no alarms
        yield
        return
    limit_s: float | None = item.config.getoption("--longest")
    if limit_s is None:
        is_slow = any(item.get_closest_marker(mark) is not None for mark in ("slow", "soak"))
        limit_s = _LONGEST_SLOW_S if is_slow else LONGEST_S
    late = TookTooLong(f"{item.nodeid} took longer than {limit_s:g} s")
    rang = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rang
        rang = True
        raise late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if rang:
        raise late


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--longest", type=float, help="seconds after which a test has hung")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[Any]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[Any]:
    with _limited(item):
        return (yield)
