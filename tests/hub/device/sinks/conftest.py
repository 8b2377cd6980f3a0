"""A place of each kind for the plays, and a device's file."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.places import FILES, KINDS, CalDavPlace, FilePlace, Place, RestPlace
from tests.hub.device.sinks.servers import Proxy, Tasks, answering
from tests.support.radicale import Radicale

CALDAV = pytest.param("caldav", marks=pytest.mark.slow)  # a server runs for it


@contextmanager
def caldav_place(radicale: Radicale, folder: Path) -> Iterator[CalDavPlace]:
    proxy = Proxy(radicale.port)
    with answering(proxy.answer) as port:
        yield CalDavPlace(radicale, proxy, port, folder)


@contextmanager
def rest_place(folder: Path) -> Iterator[RestPlace]:
    tasks = Tasks()
    with answering(tasks.answer) as there:
        proxy = Proxy(there)
        with answering(proxy.answer) as port:
            yield RestPlace(tasks, proxy, port, folder)


@contextmanager
def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    with ExitStack() as opened:
        if kind in FILES:
            yield FilePlace(kind, folder)
        elif kind == "caldav":
            yield opened.enter_context(caldav_place(request.getfixturevalue("radicale"), folder))
        else:
            yield opened.enter_context(rest_place(folder))


@pytest.fixture(params=[CALDAV if kind == "caldav" else kind for kind in KINDS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of(request.param, request, tmp_path) as found:
        yield found


@pytest.fixture(params=[CALDAV, "rest"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Place at a server, behind a proxy."""
    with place_of(request.param, request, tmp_path) as found:
        yield found


@pytest.fixture
def bench(tmp_path: Path) -> SinkBench:
    return SinkBench(tmp_path)
