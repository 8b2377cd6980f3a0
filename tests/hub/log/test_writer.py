"""Whoever logs goes on at once, whatever the stream does."""

import io
import json
import threading
from collections.abc import Callable

from hub.log import Channel, LogEntry
from hub.log.writer import Writer
from tests.support.log import Opened

log = Channel("hub.somewhere")


class Stuck(io.StringIO):
    """A stream that nobody reads, until somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.read_on = threading.Event()

    def write(self, text: str) -> int:
        self.read_on.wait(30)
        return super().write(text)


def entry(number: int) -> LogEntry:
    return LogEntry(number, 0, "info", "a.b", "x", {})


def test_a_stream_that_nobody_reads_holds_nobody_up_and_what_does_not_fit_is_counted() -> None:
    stream = Stuck()
    writer = Writer(stream, lambda one: str(one.seq), most=100)
    for number in range(1_000):
        writer.put(entry(number))  # would wait for ever if it waited at all
    assert writer.dropped >= 1_000 - 100 - 256  # what waits, and what the thread has in its hands
    stream.read_on.set()
    writer.close()
    written = [int(line) for line in stream.getvalue().splitlines()]
    assert written == sorted(written)
    assert len(written) + writer.dropped == 1_000


def test_the_loss_is_told_as_soon_as_something_is_logged_again(fresh: Callable[..., Opened]) -> None:
    stream = Stuck()
    opened = fresh(stream=stream)
    for number in range(10_000):
        log.info("a.b", device_id=f"d{number % 1_000}")
    lost = opened.log.dropped
    assert lost > 0
    stream.read_on.set()
    opened.log.close()
    log.info("hub.ready")
    told = [one for one in opened.log.ring.since(0) if one.event == "log.dropped"]
    assert sum(int(str(one.fields["count"])) for one in told) == lost


def test_a_broken_stream_costs_lines_and_nothing_else() -> None:
    stream = io.StringIO()
    stream.close()
    writer = Writer(stream, lambda one: str(one.seq))
    writer.put(entry(1))
    writer.close()
    assert writer.dropped == 1


def test_lines_come_in_the_order_in_which_they_were_logged(fresh: Callable[..., Opened]) -> None:
    opened = fresh()
    for number in range(2_000):
        log.info("a.b", device_id=str(number))
    assert [int(json.loads(line)["device_id"]) for line in opened.lines()] == list(range(2_000))


def test_how_much_is_kept_and_told_is_a_setting(fresh: Callable[..., Opened]) -> None:
    opened = fresh(entries=4, repeats=3)
    for _ in range(5):
        log.info("a.b")
    for number in range(3):
        log.info("c.d", device_id=f"d{number}")
    assert [one.event for one in opened.log.ring.since(0)] == ["a.b", "c.d", "c.d", "c.d"]
    assert opened.log.suppressed == 2
