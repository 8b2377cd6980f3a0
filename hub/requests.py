"""What a person at the desktop may ask of the hub: the methods of ``request``.

A device sees and starts its own agents and runs only. A method that is not
served yet is answered with ``unknown_method``.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from hub.links.roster import RequestReceived
from hub.log import Channel
from hub.runs.dispatcher import Dispatcher
from protocol.coordination import Method, Request, Response
from protocol.errors import CATALOGUE, DeliveryError, ErrorCode, HubError
from protocol.frame import ErrorBody, Parameters, Record
from protocol.ids import DeviceId, RunId
from storage.store import AgentRow, RunRow, Store, UnknownAgent, UnknownRun, agents, runs

log = Channel(__name__)

LISTED_RUNS: Final = 50


class BadParams(HubError):
    """A parameter is missing or of another kind."""

    code = ErrorCode.BAD_PARAMS


class Requests:
    """Answers the requests of devices."""

    def __init__(self, *, store: Store, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._methods: dict[str, Callable[[DeviceId, Parameters], Awaitable[Parameters]]] = {
            Method.AGENTS_LIST: self._agents_list,
            Method.RUNS_START: self._runs_start,
            Method.RUNS_CANCEL: self._runs_cancel,
            Method.RUNS_LIST: self._runs_list,
            Method.RUNS_GET: self._runs_get,
        }

    async def answer(self, event: RequestReceived) -> None:
        """Answer one request on the connection that it came over."""
        response = await self._response(event.link.device_id, event.frame)
        try:
            await event.link.send(response)
        except DeliveryError as exc:
            log.info("request.unanswered", method=event.frame.method, code=exc.code)

    async def _response(self, device_id: DeviceId, request: Request) -> Response:
        method = self._methods.get(request.method)
        if method is None:
            return _refusal(
                request, ErrorCode.UNKNOWN_METHOD, f"{request.method!r} is not served by this hub"
            )
        try:
            return Response(id=request.id, result=await method(device_id, request.params))
        except HubError as exc:
            return _refusal(request, exc.code, str(exc))

    async def _agents_list(self, device_id: DeviceId, params: Parameters) -> Parameters:
        mine = [row for row in await self._store.read(agents.list_agents) if row.device_id == device_id]
        return {"agents": [_agent_record(row) for row in mine]}

    async def _runs_start(self, device_id: DeviceId, params: Parameters) -> Parameters:
        agent = await self._agent(device_id, _text(params, "agent_id"))
        key = params.get("idempotency_key")
        fire_key = f"{device_id}:{key}" if key else None
        run = await self._dispatcher.submit(agent, fire_key=fire_key, actor=f"device:{device_id}")
        return {"run": _run_record(run)}

    async def _runs_cancel(self, device_id: DeviceId, params: Parameters) -> Parameters:
        run = await self._run(device_id, params)
        run = await self._dispatcher.cancel(run.id, actor=f"device:{device_id}", reason="asked by its device")
        return {"run": _run_record(run)}

    async def _runs_list(self, device_id: DeviceId, params: Parameters) -> Parameters:
        rows = await self._store.read(runs.list_runs, device_id=device_id, limit=LISTED_RUNS)
        return {"runs": [_run_record(row) for row in rows]}

    async def _runs_get(self, device_id: DeviceId, params: Parameters) -> Parameters:
        return {"run": _run_record(await self._run(device_id, params))}

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


def _refusal(request: Request, code: ErrorCode, message: str) -> Response:
    info = CATALOGUE[code]
    body = ErrorBody(code=code, message=message, retryable=info.retryable, hint=info.hint)
    return Response(id=request.id, error=body)
