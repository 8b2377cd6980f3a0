"""The command line, and a hub for it to talk with: a real server in a thread of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner, Result

from hub.base.clock import IdFactory
from hub.cli import show, waiting
from hub.cli.app import hub as command
from hub.cli.hub_client import HubClient
from hub.device.device_file import DeviceStore, open_device_store
from protocol.lifecycles import RunState
from tests.support.clock import FakeClock, SeededChance
from tests.support.hub import ServedHub, serving

Hub = Callable[..., Result]
Leads = Callable[..., None]


def ends(
    result: Result,
    code: int,
    *stderr: str,
    stdout: Sequence[str] = (),
    output: Sequence[str] = (),
    unsaid: Sequence[str] = (),
) -> None:
    """Assert the exit code of a command, and texts on each of its streams, on any of them and on none."""
    missing = [text for text in stderr if text not in result.stderr]
    missing += [text for text in stdout if text not in result.stdout]
    missing += [text for text in output if text not in result.output]
    found = [text for text in unsaid if text in result.output]
    assert (result.exit_code, missing, found) == (code, [], []), result.output


@contextmanager
def device_store(path: Path, seed: int = 0) -> Iterator[DeviceStore]:
    """Open the file of a device as the device does."""
    clock = FakeClock()
    with open_device_store(path, clock=clock, ids=IdFactory(clock, SeededChance(seed))) as store:
        yield store


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
        with pytest.MonkeyPatch.context() as patched:
            if "--timeout" not in words:  # a busy machine adds no notice
                patched.setattr(waiting, "NOTICE_S", 600.0)
            return CliRunner().invoke(command, ["--state", str(state), *words], **given)  # type: ignore[arg-type]

    return run


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """The event loop that the hub serves in."""
    with anyio.from_thread.start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def served(state: Path, portal: BlockingPortal) -> Iterator[ServedHub]:
    """A hub that serves on the state folder."""
    state.mkdir(mode=0o700)
    with portal.wrap_async_context_manager(serving(state)) as opened:
        yield opened


@pytest.fixture
def leads(served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Leads:
    """Function that leads a followed run to the next of the given states after each step that is shown."""
    follow = HubClient.follow

    def set_up(*states: RunState) -> None:
        left = list(states)

        def led(self: HubClient, path: str) -> Iterator[Any]:
            for step in follow(self, path):
                yield step
                if left:
                    portal.call(served.move, step["run"]["id"], left.pop(0))

        monkeypatch.setattr(HubClient, "follow", led)

    return set_up
