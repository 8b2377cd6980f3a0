"""Spans of ended runs go to an OpenTelemetry receiver, and no run waits for it."""

import math
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.base.clock import Clock
from hub.base.outbound.rules import OutboundRules
from hub.base.periodic_loop import PeriodicLoop
from hub.health.external import DROPPED_SPANS_REPORTED, check_spans
from hub.runs import span_export
from hub.runs.span_export import SpanExport
from protocol.ids import RunId, span_id_of, trace_id_of
from storage.agents import agents
from tests.support.asgi import serving
from tests.support.clock import SeededChance
from tests.support.hub import TEXT, open_hub
from tests.support.processes import POLL_S
from tests.support.programs import free_port
from tests.support.runs import Bench, agent, bench, folder, store

MAX_S: Final = 30.0  # a busy machine


def why_no_collector() -> str | None:
    """Return why no collector can be started here; None where one can."""
    return "no collector on this machine: pip install rotel" if find_spec("rotel") is None else None


class Collector:
    """A running collector; *printed* is the file with its output."""

    def __init__(self, url: str, printed: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._printed = printed
        self._process = process

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self._printed.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed *text*."""
        for _ in range(int(MAX_S / POLL_S)):
            if text in self.text:
                return
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"the collector ended with {self._process.wait(POLL_S)}")
        raise AssertionError(f"not in what the collector received: {text}\n{self.text}")

    @property
    def spans(self) -> list[dict[str, str]]:
        """What it received: for each span its fields, and its attributes by their names."""
        parts = re.split(r"^Span #\d+$", self.text, flags=re.MULTILINE)[1:]
        field = re.compile(r"^ +(?:-> )?([\w. ]+?) *: (?:\w+\((.*)\)|(.*))$", re.MULTILINE)
        return [{name: own or plain for name, own, plain in field.findall(part)} for part in parts]


@contextmanager
def running_collector(folder: Path) -> Iterator[Collector]:
    """Run a collector on a free port of this machine."""
    found = find_spec("rotel")
    assert found is not None and found.origin is not None, why_no_collector()
    port, printed = free_port(), folder / "collector.txt"
    options = ["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]
    doors = ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", "127.0.0.1:0"]
    binary = Path(found.origin).parent / "rotel-agent"
    with printed.open("wb") as output:
        process = subprocess.Popen([binary, "start", *options, *doors], stdout=output, stderr=output)
    collector = Collector(f"http://127.0.0.1:{port}", printed, process)
    try:
        collector.wait_for("Starting Rotel")
        yield collector
    finally:
        process.kill()
        process.wait()


__all__ = ["agent", "bench", "store"]

LONGEST_S = 7.0  # that a receiver asks to wait
FREE = "We talked about the garden for a long while, and nobody wrote down who does it."


@asynccontextmanager
async def exporting(bench: Bench, url: str) -> AsyncIterator[SpanExport]:
    """Send the spans of the bench's runs to a receiver."""
    export = SpanExport(
        bench.store,
        url=url,
        resource={"service.name": "home"},
        rules=OutboundRules(),
        clock=bench.clock,
        chance=SeededChance(),
        metrics=bench.metrics,
    )
    export.loop = Waits(bench.clock)
    bench.lifecycle.on_ended = export.run_ended
    async with anyio.create_task_group() as tasks:
        await tasks.start(export.serve)
        yield export
        tasks.cancel_scope.cancel()


class Waits(PeriodicLoop):
    """Turns of an export, which end each time that it waits: for a run, or to send again."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.begun = anyio.Event()

    def wait(self, most_s: float = math.inf) -> None:
        super().wait(most_s)
        self.begun.set()


async def counts(bench: Bench, export: SpanExport, count: int, result: str) -> None:
    """Wait until so many spans were sent, or dropped."""
    waits = export.loop
    assert isinstance(waits, Waits)
    with anyio.fail_after(30):
        while bench.metrics.registry.get_sample_value("hub_spans_total", {"result": result}) != count:
            await waits.begun.wait()
            waits.begun = anyio.Event()
            await bench.clock.pass_time(LONGEST_S)


def receiver(answer: Callable[[bytes], Response]) -> ASGIApp:
    """A receiver that answers each request by *answer*."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(await Request(scope, receive).body())(scope, receive, send)

    return app


@pytest.mark.skipif(why_no_collector() is not None, reason=str(why_no_collector()))
async def test_trace_collector_receives_spans_of_a_run_without_file_text(
    bench: Bench, tmp_path: Path
) -> None:
    bench.connect(runs=folder(a=f"- [ ] pay Ann\n\n{FREE}"))
    with running_collector(tmp_path) as collector:
        async with exporting(bench, collector.url) as export:
            done = await bench.run()
            await counts(bench, export, 7, "sent")
        await anyio.to_thread.run_sync(collector.wait_for, "insert tasks")
        spans = {span["Name"]: span for span in collector.spans}
    assert set(spans) == {
        *("run", "run queued", "run preparing", "run running"),
        *("file", "chat keyword", "insert tasks"),
    }
    assert {span["Trace ID"] for span in spans.values()} == {trace_id_of(done.id)}
    assert spans["run preparing"]["ID"] == span_id_of("agent_run", str(done.fence))
    assert spans["insert tasks"]["Parent ID"] == spans["file"]["ID"]
    assert spans["file"]["Parent ID"] == spans["run"]["ID"]
    assert spans["chat keyword"]["gen_ai.usage.input_tokens"] == "10"
    assert [text for text in ("a.md", "Ann", "garden") if text in collector.text] == []


async def test_unreachable_receiver_gets_the_spans_later_and_the_run_does_not_wait(bench: Bench) -> None:
    answers = [Response(status_code=503), Response(status_code=429, headers={"retry-after": "7"})]
    bodies: list[bytes] = []

    def answer(body: bytes) -> Response:
        bodies.append(body)
        return answers.pop(0) if answers else Response(b"{}")

    bench.connect(runs=folder(a="- [ ] one"))
    async with serving(receiver(answer)) as url, exporting(bench, url) as export:
        await bench.run()  # ends though nothing is sent yet
        await counts(bench, export, 6, "sent")
    assert (len(bodies), bodies[0], export.problem) == (3, bodies[2], None)


async def test_spans_rejected_by_the_receiver_are_counted_as_dropped_and_reported(bench: Bench) -> None:
    answers = [
        Response(b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}'),
        Response(status_code=400),
    ]
    bench.connect(runs=folder(a="- [ ] one") + folder(a="- [ ] one"))
    async with serving(receiver(lambda _: answers.pop(0))) as url, exporting(bench, url) as export:
        await bench.run()
        await counts(bench, export, 2, "dropped")
        await bench.run()
        await counts(bench, export, 4, "sent")
        await counts(bench, export, 2 + 4, "dropped")
        (found,) = await check_spans(export, bench.clock.now())
        assert "status 400" in found.explanation
        assert list(await check_spans(export, bench.clock.now() + DROPPED_SPANS_REPORTED)) == []


async def test_hub_with_traces_otlp_setting_sends_spans_to_the_receiver(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    is_sent = anyio.Event()

    def answer(body: bytes) -> Response:
        bodies.append(body)
        is_sent.set()
        return Response(b"{}")

    async with serving(receiver(answer)) as url:
        settings = f'{TEXT}\n[traces]\notlp = "{url}"\n'
        async with open_hub(tmp_path, settings) as hub, hub.working(*folder(a="- [ ] one")):
            assert hub.work.spans is not None
            async with anyio.create_task_group() as tasks:
                await tasks.start(hub.work.spans.serve)
                agent = await hub.store.read(agents.agent_called, "notes", None)
                run = await hub.work.control.submit(agent)
                await hub.ends(run.id)
                with anyio.fail_after(30):
                    await is_sent.wait()
                tasks.cancel_scope.cancel()
    assert trace_id_of(run.id) in bodies[0].decode()


async def test_the_queue_of_runs_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "MAX_RUNS", 2)
    async with exporting(bench, "http://127.0.0.1:9") as export:
        for number in range(3):
            export.run_ended(RunId(f"r-{number}"))
        assert export.problem == "2 runs wait for the receiver"
