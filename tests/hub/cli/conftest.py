"""The command line, and a hub for it to talk with: a real server in a thread of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner, Result

from hub.cli import show
from hub.cli.app import hub as command
from tests.support.clock import FakeClock
from tests.support.facade import FakeHub, serving

Hub = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder."""
    return tmp_path / "state"


@pytest.fixture
def hub(state: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The command ``hub`` with *state* as its folder."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(show, "clock", FakeClock())

    def run(*words: str, **given: str) -> Result:
        return CliRunner().invoke(command, ["--state", str(state), *words], **given)  # type: ignore[arg-type]

    return run


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """The event loop that the hub serves in."""
    with anyio.from_thread.start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def served(state: Path, portal: BlockingPortal) -> Iterator[FakeHub]:
    """A hub that serves on the state folder."""
    state.mkdir()
    fake = FakeHub()
    with portal.wrap_async_context_manager(serving(fake, state)):
        yield fake
