"""Approved items at each kind of place, and what the same costs by hand.

``python -m tests.scenarios.sinks`` (``make soak``: 1,000 items) prints seconds and CPU of a sink beside those
of the plainest program that writes the same, and fails where a server takes MAX_TIMES as long.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.places import FILES, CalDavPlace, FilePlace, Place, RestPlace
from tests.scenarios.program import Verdict, run
from tests.support.radicale import running_radicale

MAX_TIMES = 3.0
MAX_FILE_S = 20.0  # for a file, which is one write by hand


class Cost(NamedTuple):
    """Seconds, and those of this process's CPU, with the servers that it runs as threads."""

    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.seconds:8.3f} s, {self.cpu:7.3f} s of CPU"


def cost_of(work: Callable[[], object]) -> Cost:
    began, cpu = perf_counter(), process_time()
    work()
    return Cost(perf_counter() - began, process_time() - cpu)


def by_hand(place: Place, folder: Path) -> Callable[[], object]:
    """Return the plainest program that makes as many rows as *place* has."""
    if isinstance(place, FilePlace):
        text = place.text
        return lambda: (folder / "by_hand").write_text(text)
    assert isinstance(place, CalDavPlace | RestPlace)
    is_calendar = isinstance(place, CalDavPlace)
    url = urlsplit(place.url if isinstance(place, CalDavPlace) else place.manifest.url)
    headers = {"Authorization": place.authorization}
    own: list[Any] = [body for body in place.save().values() if "hub-" in str(body)]
    if is_calendar:  # into a calendar that is as empty as the first one was
        place.restore({})

    def write() -> None:
        there = http.client.HTTPConnection(url.netloc, timeout=30)
        for number, body in enumerate(own):
            if is_calendar:
                sent = str(body).replace("UID:hub-", "UID:by-hand-")
                there.request("PUT", f"{url.path}by-hand-{number}.ics", sent.encode(), headers)
            else:
                sent = json.dumps({"content": body["content"]})
                there.request("POST", f"{url.path}/tasks", sent.encode(), headers)
            answer = there.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
        there.close()

    return write


def places(opened: ExitStack, folder: Path) -> Iterator[tuple[str, Place]]:
    for kind in FILES:
        yield kind, FilePlace(kind, folder)
    yield "caldav", opened.enter_context(caldav_place(opened.enter_context(running_radicale()), folder))
    rest = opened.enter_context(rest_place(folder))
    rest.tasks.page = 200
    yield "rest", rest


async def play(folder: Path, *, items: int = 1_000) -> Verdict:
    """Write so many items to a place of each kind, look at it once more, and write the same by hand."""
    lines, bad = list[str](), list[str]()
    bench = SinkBench(folder)
    for number in range(items):
        bench.approve({"title": f"Item {number}", "priority": "high"})
    with ExitStack() as opened:
        for kind, place in places(opened, folder):
            synchronize = partial(bench.synchronize, place.target, sink=kind)
            first, again = cost_of(synchronize), cost_of(synchronize)
            is_whole = place.text.count("Item ") == items
            hand = cost_of(by_hand(place, folder))
            times = first.seconds / hand.seconds
            lines.append(f"  {kind:9}{first}; once more {again}; by hand {hand}: {times:.1f} times as long")
            is_cheap = first.seconds < MAX_FILE_S if kind in FILES else times < MAX_TIMES
            bad += [] if is_whole and is_cheap else [kind]
    verdict = f"{items} items in {len(lines)} kinds of places: out of bounds: {', '.join(bad) or 'none'}"
    return "\n".join([*lines, verdict]), not bad


if __name__ == "__main__":
    run(play)
