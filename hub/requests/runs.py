"""Requests about runs: a device starts, lists and reports runs of its own agents."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hub.links.link import DeviceLink
from hub.requests.agents import agent_of
from hub.requests.params import Methods, key_in, params_as, text_in
from hub.runs.control import RunControl
from hub.runs.run_order import MOST_NEEDS, run_options
from protocol.coordination import Method
from protocol.frame import Fence, Id, Parameters, Text, Values
from protocol.ids import DeviceId, RunId
from protocol.locks import MOST_LOCKS
from storage.runs import run_locks, runs
from storage.runs.runs import MAX_MESSAGE_CHARS, Report, RunRow, UnknownRun
from storage.store import Store

LISTED_RUNS: Final = 50


class _Start(msgspec.Struct, frozen=True, kw_only=True):
    needs: Annotated[list[Text], Meta(max_length=MOST_NEEDS)] = []
    locks: Annotated[list[Text], Meta(max_length=MOST_LOCKS)] = []
    context: dict[str, Any] = {}
    task_id: Id | None = None


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    run_id: Id
    fence: Fence
    progress: Annotated[float, Meta(ge=0, le=100)] | None = None
    message: Annotated[str, Meta(max_length=MAX_MESSAGE_CHARS, pattern="^[^\0]*$")] | None = None
    context: dict[str, Any] | None = None


class RunRequests:
    """Handlers of ``runs.*``."""

    def __init__(self, store: Store, control: RunControl) -> None:
        self._store = store
        self._control = control

    @property
    def methods(self) -> Methods:
        return {
            Method.RUNS_START: self._start,
            Method.RUNS_CANCEL: self._cancel,
            Method.RUNS_LIST: self._list,
            Method.RUNS_GET: self._get,
            Method.RUNS_REPORT: self._report,
        }

    async def _start(self, link: DeviceLink, params: Parameters) -> Values:
        agent = await agent_of(self._store, link.device_id, text_in(params, "agent_id"))
        start = params_as(params, _Start)
        key = key_in(params)
        fire_key = None if key is None else f"{link.device_id}:{key}"
        options = run_options(
            needs=start.needs, locks=start.locks, context=start.context, task_id=start.task_id
        )
        actor = f"device:{link.device_id}"
        run = await self._control.submit(agent, fire_key=fire_key, actor=actor, options=options)
        unmet = await self._store.read(run_locks.unmet_of, [run.id], {link.device_id: link.offers})
        return {"run": _run_record(run), "unmet": [one.need for one in unmet.get(run.id, ())]}

    async def _cancel(self, link: DeviceLink, params: Parameters) -> Values:
        run = await self._run(link.device_id, params)
        run = await self._control.cancel(
            run.id, actor=f"device:{link.device_id}", reason="asked by its device"
        )
        return {"run": _run_record(run)}

    async def _list(self, link: DeviceLink, params: Parameters) -> Values:
        rows = await self._store.read(runs.list_runs, device_id=link.device_id, limit=LISTED_RUNS)
        return {"runs": [_run_record(row) for row in rows]}

    async def _get(self, link: DeviceLink, params: Parameters) -> Values:
        return {"run": _run_record(await self._run(link.device_id, params))}

    async def _report(self, link: DeviceLink, params: Parameters) -> Values:
        reported = params_as(params, _Report)
        row = await self._run(link.device_id, params)
        report = Report(progress=reported.progress, message=reported.message, context=reported.context)
        return {"run": _run_record(await self._control.report(row.id, reported.fence, report))}

    async def _run(self, device_id: DeviceId, params: Parameters) -> RunRow:
        given = text_in(params, "run_id")
        row = await self._store.read(runs.find_run, RunId(given))
        if row is None or row.device_id != device_id:
            raise UnknownRun(f"this device has no run {given!r}")
        return row


def _run_record(row: RunRow) -> Values:
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
        "progress": row.progress,
        "message": row.status_message,
        "context": row.context,
        "result": row.result,
    }
