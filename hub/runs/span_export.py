"""Export of run traces to an OpenTelemetry receiver (OTLP): queue limit, retries, dropped runs.

Spans are read from the database once their run has ended. So no step of a run waits for the receiver, and
one that is away costs only the spans. No span bears the path or text of a file, a prompt or an answer.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.base.clock import Chance, Clock
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.outbound.client import AnswerTooLarge, DecodingError, OutboundClient, TransportError
from hub.base.outbound.rules import AddressRefused, OutboundRules, retry_after
from hub.base.periodic_loop import PeriodicLoop
from hub.base.toml.limits import NANOS
from hub.base.version import VERSION
from protocol.backoff import Backoff
from protocol.ids import RunId, trace_id_of
from protocol.lifecycles import CallState, RunOutcome, UnitState
from storage.kernel.columns import Key
from storage.kernel.database import StorageError
from storage.runs import runs
from storage.runs.runs import RunRow
from storage.runs.spans import RunSpan, list_spans
from storage.schema import ANSWERED
from storage.store import Connection, Store

log = Channel(__name__)

MAX_RUNS: Final = 1_000  # that wait for the receiver
MAX_SPANS: Final = 10_000  # of a run
AT_ONCE: Final = 500  # spans in a request
TIMEOUT_S: Final = 10.0
GIVE_UP_S: Final = 300.0  # how long a request is repeated
AGAIN: Final = Backoff(base_s=2.0, cap_s=30.0)
_MAY_PASS: Final = frozenset({429, 502, 503, 504})  # that OTLP has a request repeated for
_FAILED: Final = frozenset({RunOutcome.ERROR, UnitState.FAILED, CallState.REJECTED, CallState.UNKNOWN})
_INTERNAL, _CLIENT = 1, 3
_ERROR: Final = 2
_NAMES: Final = {"run": "run", "state": "run {0}", "unit": "file", "model": "chat {0}", "call": "{0}"}


class _ExportRefused(Exception):
    """The receiver did not take a request."""


class SpanExport:
    """Service that sends the spans of each run that ended at this hub.

    Attributes:
        problem: why spans were dropped last; None: none was.
        dropped_at: time of that.
    """

    def __init__(
        self,
        store: Store,
        *,
        url: str,
        resource: Mapping[str, str],
        rules: OutboundRules,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
    ) -> None:
        """Set up the service.

        Args:
            url: address of the receiver; spans go to its path ``/v1/traces``.
            resource: attributes that name this hub.
        """
        self.loop = PeriodicLoop(clock)
        self.problem: str | None = None
        self.dropped_at: datetime | None = None
        self._store = store
        self._url = f"{url.rstrip('/')}/v1/traces"
        self._resource = {"attributes": _attributes({**resource, "service.version": VERSION})}
        self._rules = rules
        self._clock = clock
        self._chance = chance
        self._counted = metrics.spans
        self._waiting: deque[RunId] = deque()

    def run_ended(self, run_id: RunId) -> None:
        """Send the spans of this run soon. Without a place in the queue they are dropped."""
        if len(self._waiting) >= MAX_RUNS:
            self._drop(1, f"{MAX_RUNS} runs wait for the receiver")
        else:
            self._waiting.append(run_id)
            self.loop.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Send spans until cancelled."""
        async with OutboundClient(self._rules, read_timeout_s=TIMEOUT_S, connections=1) as client:
            task_status.started()
            await self.loop.serve(partial(self._export_all, client), of="span export", every_s=math.inf)

    async def _export_all(self, client: OutboundClient) -> None:
        while self._waiting:
            self.loop.work()
            try:
                await self._export(client, self._waiting.popleft())
            except StorageError as exc:
                self._drop(1, "the database was away")
                log.error("spans.database", exc=exc)

    async def _export(self, client: OutboundClient, run_id: RunId) -> None:
        """Send the spans of a run in parts."""

        def read(c: Connection, after: Key | None) -> tuple[RunRow | None, list[RunSpan]]:
            return runs.find_run(c, run_id), list_spans(c, run_id, limit=AT_ONCE, after=after)

        after: Key | None = None
        for _ in range(0, MAX_SPANS, AT_ONCE):
            run, spans = await self._store.read(read, after)
            if run is None or not spans:
                return
            try:
                refused = await self._send(client, [span_of(span, run) for span in spans])
            except _ExportRefused as exc:
                self._drop(len(spans), str(exc))
                return
            self._counted.labels("sent").inc(len(spans) - refused)
            if len(spans) < AT_ONCE:
                return
            after = spans[-1].key
        self._drop(1, f"a run has more than {MAX_SPANS} spans")

    async def _send(self, client: OutboundClient, spans: Sequence[Mapping[str, Any]]) -> int:
        """Send spans until the receiver has them. Return the number that it refused.

        Raises:
            _Refused: it takes none of them, or was away for too long.
        """
        scope = {"scope": {"name": "device-hub", "version": VERSION}, "spans": spans}
        body = msgspec.json.encode({"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]})
        began, attempt = self._clock.monotonic(), 0
        while True:
            self.loop.work()
            wait_s: float | None = None
            try:
                answer = await client.post(
                    self._url, content=body, headers={"content-type": "application/json"}
                )
            except AddressRefused as exc:
                raise _ExportRefused(str(exc)) from exc
            except (TransportError, AnswerTooLarge, DecodingError) as exc:
                why = str(exc)
            else:
                if answer.is_success:
                    return self._refused_in(answer.content)
                why = f"status {answer.status_code}"
                if answer.status_code not in _MAY_PASS:
                    raise _ExportRefused(why)
                wait = retry_after(answer.headers, self._clock.now())
                wait_s = None if wait is None else wait.seconds
            if wait_s is None:
                wait_s = AGAIN.delay(attempt, self._chance.uniform(0, 1))
            if self._clock.monotonic() + wait_s - began > GIVE_UP_S:
                raise _ExportRefused(why)
            attempt += 1
            self.loop.wait(wait_s)
            await self._clock.sleep(wait_s)

    def _refused_in(self, answer: bytes) -> int:
        """Return the number of spans that the receiver did not take, by its answer."""
        try:
            result = msgspec.json.decode(answer or b"{}")["partialSuccess"]
            refused = int(result["rejectedSpans"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            return 0  # it took them all, or does not say
        if refused:
            self._drop(refused, str(result.get("errorMessage", "not accepted"))[:200])
        return refused

    def _drop(self, count: int, why: str) -> None:
        if why != self.problem:
            log.warning("spans.dropped", why=why)
        self._counted.labels("dropped").inc(count)
        self.problem, self.dropped_at = why, self._clock.now()


def span_of(span: RunSpan, run: RunRow) -> dict[str, Any]:
    """Return a span of a run as OTLP has it."""
    ended_at = span.ended_at if span.ended_at is not None else run.completed_at
    has_failed = span.outcome in _FAILED if span.kind != "model" else span.outcome != ANSWERED
    return {
        "traceId": trace_id_of(run.id),
        "spanId": span.id,
        "parentSpanId": span.parent or "",
        "name": _NAMES[span.kind].format(span.name.lower() if span.kind == "state" else span.name),
        "kind": _CLIENT if span.kind in ("model", "call") else _INTERNAL,
        "startTimeUnixNano": f"{span.started_at}000000",
        "endTimeUnixNano": f"{max(span.started_at, ended_at or 0)}000000",
        "attributes": _attributes(dict(_facts(span, run))),
        "status": {"code": _ERROR} if has_failed else {},
    }


def _facts(span: RunSpan, run: RunRow) -> Iterator[tuple[str, str | int | float | None]]:
    """Yield the attributes of a span; reasons are left out, because they may be texts."""
    yield "hub.run.id", run.id
    yield "hub.agent.name", run.agent_name
    if span.kind != "state":
        yield "hub.outcome", span.outcome
    if span.kind == "run":
        yield "hub.run.trigger", run.trigger_kind
        yield "hub.run.attempt", run.attempt
        yield "hub.run.files", run.units_done
        yield "hub.run.items", run.items_created
    if span.kind == "unit":
        yield "hub.file.items", span.items
    if span.kind in ("model", "call"):
        yield "hub.sends", span.sends
    if span.kind == "model":
        yield "gen_ai.operation.name", "chat"
        yield "gen_ai.response.model", span.name
        yield "gen_ai.usage.input_tokens", span.prompt_tokens
        yield "gen_ai.usage.output_tokens", span.completion_tokens
        yield "hub.cost.usd", (span.cost_nanos or 0) / NANOS


def _attributes(facts: Mapping[str, str | int | float | None]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in facts.items() if value is not None]


def _value(value: str | float) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"doubleValue": value}
