"""What a person at the desktop may ask of the hub: the methods of ``request``.

A device sees and starts its own agents and runs only. A method that is not
served yet is answered with ``unknown_method``.

Requests are answered one after the other, each device's in its turn, so that one that
asks a lot takes little from the others.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.clock import Clock, epoch_ms
from hub.links.link import DeviceLink
from hub.links.roster import RequestReceived
from hub.links.rotation import KeyRotation
from hub.log import Channel
from hub.metrics import Metrics
from hub.ops.routes import DEVICE_REQUESTS
from hub.request_queue import RequestQueue
from hub.runs.control import RunControl
from hub.turns import Turns
from protocol.coordination import Method, Request, Response
from protocol.errors import CATALOGUE, DeliveryError, ErrorCode, HubError
from protocol.frame import ErrorBody, Parameters, Record
from protocol.ids import DeviceId, RunId
from storage.store import (
    AgentRow,
    ReportedVerdict,
    RunRow,
    Store,
    UnknownAgent,
    UnknownRun,
    agents,
    items,
    runs,
)

log = Channel(__name__)

LISTED_RUNS: Final = 50
WAITING_REFUSALS: Final = 1_024  # of all devices, while one is answered; who asks beyond it is not answered
MOST_VERDICTS: Final = 500  # in one report: as much as one write may look up
KEY_CHARACTERS: Final = 128  # of an idempotency key, as of operators'


class BadParams(HubError):
    """A parameter is missing or of another kind."""

    code = ErrorCode.BAD_PARAMS


class Requests:
    """Answers the requests of devices."""

    def __init__(
        self,
        *,
        store: Store,
        control: RunControl,
        clock: Clock,
        metrics: Metrics,
        rotation: KeyRotation | None = None,
    ) -> None:
        """*rotation* takes new keys; without it there is no such method."""
        self.turns = Turns(clock)
        self._store = store
        self._control = control
        self._clock = clock
        self._limits_reached = metrics.limits_reached
        self._unknown_verdicts = metrics.verdicts_unknown
        self._waiting = RequestQueue()
        self._overloaded: deque[tuple[DeviceLink, Response]] = deque()
        self._arrived = anyio.Event()
        self._methods: dict[str, Callable[[DeviceLink, Parameters], Awaitable[Parameters]]] = {
            Method.AGENTS_LIST: self._agents_list,
            Method.RUNS_START: self._runs_start,
            Method.RUNS_CANCEL: self._runs_cancel,
            Method.RUNS_LIST: self._runs_list,
            Method.RUNS_GET: self._runs_get,
            Method.REVIEW_REPORT: self._review_report,
        }
        if rotation is not None:
            self._methods[Method.KEYS_ROTATE] = partial(_keys_rotate, rotation)

    def __len__(self) -> int:
        """How many wait for their answer."""
        return len(self._waiting)

    def apply(self, *, waiting: int) -> None:
        """So many requests of one device may wait from now on."""
        self._waiting.most = waiting

    def take(self, event: RequestReceived) -> None:
        """Queue a request, or its refusal where too many of its device wait. Returns at once.

        Of refusals, too, only so many wait: a database that is away for long answers nobody.
        """
        if not self._waiting.put(event):
            self._limits_reached.labels("waiting_requests").inc()
            told = f"{self._waiting.most} requests of this device wait for their answer (waiting_requests)"
            if len(self._overloaded) < WAITING_REFUSALS:
                self._overloaded.append((event.link, _refusal(event.frame, ErrorCode.OVERLOADED, told)))
        self._arrived.set()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer requests until cancelled."""
        task_status.started()
        while True:
            self.turns.wait()
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._waiting:
                self.turns.work()
                await self._answer_next()
                while self._overloaded:
                    await _send(*self._overloaded.popleft())

    async def _answer_next(self) -> None:
        event = self._waiting.take()
        try:
            response = await self._response(event.link, event.frame)
        except Exception as exc:  # the loop that must survive
            log.error("request.failed", exc=exc, method=event.frame.method)
            response = _refusal(event.frame, ErrorCode.INTERNAL, "the hub failed at this request")
        await _send(event.link, response)

    async def _response(self, link: DeviceLink, request: Request) -> Response:
        method = self._methods.get(request.method) if request.method in DEVICE_REQUESTS else None
        if method is None:
            return _refusal(
                request, ErrorCode.UNKNOWN_METHOD, f"{request.method!r} is not served by this hub"
            )
        try:
            return Response(id=request.id, result=await method(link, request.params))
        except HubError as exc:
            return _refusal(request, exc.code, str(exc), getattr(exc, "retry_after_s", None))

    async def _agents_list(self, link: DeviceLink, params: Parameters) -> Parameters:
        mine = [row for row in await self._store.read(agents.list_agents) if row.device_id == link.device_id]
        return {"agents": [_agent_record(row) for row in mine]}

    async def _runs_start(self, link: DeviceLink, params: Parameters) -> Parameters:
        agent = await self._agent(link.device_id, _text(params, "agent_id"))
        key = _key(params)
        fire_key = None if key is None else f"{link.device_id}:{key}"
        run = await self._control.submit(agent, fire_key=fire_key, actor=f"device:{link.device_id}")
        return {"run": _run_record(run)}

    async def _runs_cancel(self, link: DeviceLink, params: Parameters) -> Parameters:
        run = await self._run(link.device_id, params)
        run = await self._control.cancel(
            run.id, actor=f"device:{link.device_id}", reason="asked by its device"
        )
        return {"run": _run_record(run)}

    async def _runs_list(self, link: DeviceLink, params: Parameters) -> Parameters:
        rows = await self._store.read(runs.list_runs, device_id=link.device_id, limit=LISTED_RUNS)
        return {"runs": [_run_record(row) for row in rows]}

    async def _runs_get(self, link: DeviceLink, params: Parameters) -> Parameters:
        return {"run": _run_record(await self._run(link.device_id, params))}

    async def _review_report(self, link: DeviceLink, params: Parameters) -> Parameters:
        said = _verdicts(params)
        at = epoch_ms(self._clock.now())
        known = await self._store.write(items.record_verdicts, link.device_id, said, at)
        if known < len(said):
            self._unknown_verdicts.inc(len(said) - known)
        return {"known": known, "unknown": len(said) - known}

    async def _agent(self, device_id: DeviceId, given: str) -> AgentRow:
        for row in await self._store.read(agents.list_agents):
            if row.device_id == device_id and given in (row.id, row.name):
                return row
        raise UnknownAgent(f"this device has no agent {given!r}")

    async def _run(self, device_id: DeviceId, params: Parameters) -> RunRow:
        given = _text(params, "run_id")
        row = await self._store.read(runs.find_run, RunId(given))
        if row is None or row.device_id != device_id:
            raise UnknownRun(f"this device has no run {given!r}")
        return row


async def _keys_rotate(rotation: KeyRotation, link: DeviceLink, params: Parameters) -> Parameters:
    key_id = await rotation.rotate(
        link,
        public_key=_text(params, "public_key"),
        signature=_text(params, "signature"),
        proof=_text(params, "proof"),
    )
    return {"key_id": key_id}


async def _send(link: DeviceLink, response: Response) -> None:
    try:
        await link.send(response)
    except DeliveryError as exc:
        log.info("request.unanswered", code=exc.code, device_id=link.device_id)


def _verdicts(params: Parameters) -> list[ReportedVerdict]:
    """The last word on each call.

    Raises:
        BadParams: it is no list of at most ``MOST_VERDICTS``, or one of them is none.
    """
    told = params.get("verdicts")
    if not isinstance(told, list) or len(told) > MOST_VERDICTS:
        raise BadParams(f"verdicts: expected a list of at most {MOST_VERDICTS}")
    try:
        said = msgspec.convert(told, list[ReportedVerdict])
    except msgspec.ValidationError as error:
        raise BadParams(f"verdicts: {error}") from error
    return list({one.call_id: one for one in said}.values())


def _key(params: Parameters) -> str | None:
    if params.get("idempotency_key") is None:
        return None
    key = _text(params, "idempotency_key")
    if len(key) > KEY_CHARACTERS:
        raise BadParams(f"idempotency_key: expected at most {KEY_CHARACTERS} characters, not {len(key)}")
    return key


def _text(params: Parameters, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise BadParams(f"{name}: expected text")
    return value


def _agent_record(row: AgentRow) -> Record:
    return {
        "agent_id": row.id,
        "name": row.name,
        "data_types": list(row.data_types),
        "paths": list(row.paths),
    }


def _run_record(row: RunRow) -> Record:
    return {
        "run_id": row.id,
        "agent_id": row.agent_id,
        "state": str(row.state),
        "outcome": None if row.outcome is None else str(row.outcome),
        "reason": row.reason,
        "units_total": row.units_total,
        "units_done": row.units_done,
        "units_failed": row.units_failed,
        "items_created": row.items_created,
        "error_count": row.error_count,
    }


def _refusal(request: Request, code: ErrorCode, message: str, retry_after_s: float | None = None) -> Response:
    info = CATALOGUE[code]
    body = ErrorBody(
        code=code,
        message=message,
        retryable=info.retryable,
        retry_after_ms=None if retry_after_s is None else math.ceil(retry_after_s * 1000),
        hint=info.hint,
    )
    return Response(id=request.id, error=body)
