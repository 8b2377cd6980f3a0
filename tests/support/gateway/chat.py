"""How a gateway's sessions behave: turns, queues, what is remembered and what a restart does to it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from tests.support.gateway.office import Office, Pending, Row, Session, fresh


@dataclass
class Answer:
    """What an agent says."""

    text: str


@dataclass
class Fails:
    """A turn that ends in an error.

    *reason*: billing, rate_limit and such, which the gateway tells in fields. *was_asked*: the model had it;
    what fails before leaves a row of another kind.
    """

    message: str = "Something went wrong while processing your request."
    reason: str | None = None
    was_asked: bool = True


class NeverEnds:
    """A turn that works on until it is interrupted."""


Outcome = str | Answer | Fails | NeverEnds
Answering = Callable[[str, str], Outcome | Awaitable[Outcome]]
Emit = Callable[[str, dict[str, Any]], None]

_RECOVERY = "[System] Your previous turn was interrupted by a gateway restart while OpenClaw was working"


@dataclass
class Run:
    """One turn of an agent, or a message that waits for one."""

    id: str
    session: Session
    params: dict[str, Any]
    answer_id: str = ""  # the run that writes the answer: another one after a queue
    status: str = "in_flight"  # of a second send: in_flight, ok, error
    is_queued: bool = False
    ended: anyio.Event = field(default_factory=anyio.Event)
    result: dict[str, Any] = field(default_factory=dict)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    steered: list["Run"] = field(default_factory=list)
    seq: int = 0

    @property
    def text(self) -> str:
        return str(self.params["message"]).strip()


class Refusal(Exception):
    """An ``ok: false``."""

    def __init__(
        self, code: str, message: str, *, payload: dict[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **more}
        self.payload = payload


class Chat:
    """What a gateway has in memory about its sessions; gone with its process."""

    def __init__(self, office: Office, emit: Emit, answering: Callable[[], Answering]) -> None:
        self._office = office
        self._emit = emit
        self._answering = answering
        self._runs: dict[str, Run] = {}
        self._active: dict[str, Run] = {}  # by session
        self._queues: dict[str, list[Run]] = {}
        self.tasks: TaskGroup | None = None
        self.intake = anyio.Event()  # set: messages are read as soon as they are taken
        self.intake.set()
        self.held: dict[str, anyio.Event] = {}  # sessions whose turns do not end yet
        self.is_draining = False  # turns end, and none begins

    def is_busy(self, session_key: str) -> bool:
        return session_key in self._active

    @property
    def turns(self) -> int:
        """How many turns are under way."""
        return len(self._active)

    # --- chat.send ---

    def send(self, params: dict[str, Any]) -> dict[str, Any]:
        key, session_key = params["idempotencyKey"], params["sessionKey"]
        if "\0" in params["message"]:
            raise Refusal("INVALID_REQUEST", "message must not contain null bytes")
        if params["message"].strip() == "stop":  # a command; there are others
            return {"ok": True, "aborted": self.abort(session_key), "runIds": []}
        if not params["message"]:
            raise Refusal("INVALID_REQUEST", "message or attachment required")
        agent_id = session_key.split(":")[1] if session_key.count(":") >= 2 else session_key
        if agent_id not in self._office.agents:
            said = f'Agent "{agent_id}" no longer exists in configuration'
            raise Refusal("INVALID_REQUEST", said)
        if (run := self._runs.get(key)) is not None:
            return self._again(run, params)
        session = self._office.session(session_key)
        if any(item.key == key and item.state == "interrupted" for item in session.pending):
            return self._ownership_ended(key, session_key)
        run = self._runs[key] = Run(key, session, params, answer_id=key)
        answer = {"runId": key, "status": "started"}
        mode = params.get("queueMode")
        active = self._active.get(session_key)
        if active is not None and mode == "interrupt":
            active.scope.cancel()
            del self._active[session_key]
            answer["interruptedActiveRun"] = True
            active = None
        if session.find(key) is None:
            session.pending.append(Pending(key, run.text))
        if active is None:
            self._begin(run)
        else:
            run.is_queued = True
            run.status = "ok" if mode in ("followup", "collect") else "in_flight"
            if mode in ("followup", "collect"):
                self._queues.setdefault(session_key, []).append(run)
            else:
                active.steered.append(run)
            self._emit("chat", {"runId": key, "sessionKey": session_key, "seq": 1, "state": "final"})
        return answer

    def _again(self, run: Run, params: dict[str, Any]) -> dict[str, Any]:
        if params != run.params:
            said = "This message ID was already used for different input."
            raise Refusal("INVALID_REQUEST", said, details={"reason": "chat-request-conflict"})
        if run.status == "error":
            raise Refusal("UNAVAILABLE", str(run.result.get("error")))
        return {"runId": run.id, "status": run.status}

    def _ownership_ended(self, key: str, session_key: str) -> dict[str, Any]:
        said = "Error: Pending input ownership ended; submit a new turn to continue"
        self._emit(
            "chat",
            {"runId": key, "sessionKey": session_key, "seq": 1, "state": "error", "errorMessage": said},
        )
        raise Refusal("UNAVAILABLE", said, payload={"runId": key, "status": "error", "summary": said})

    # --- turns ---

    def _begin(self, run: Run) -> None:
        self._active[run.session.key] = run
        assert self.tasks is not None
        self.tasks.start_soon(self._turn, run)

    async def _turn(self, run: Run) -> None:
        session = run.session
        with run.scope:
            await self.intake.wait()
            self._status(run, "preparing_workspace")
            self._read_input(run)
            self._agent(run, "lifecycle", {"phase": "start", "startedAt": 1})
            outcome = await self._outcome(run)
            if (gate := self.held.get(session.key)) is not None:
                await gate.wait()
            for steered in [] if self.is_draining else run.steered:  # they are read now, by this turn
                self._read_input(steered)
                more = await self._outcome(steered)
                if isinstance(more, Answer) and isinstance(outcome, Answer):
                    outcome = Answer(f"{outcome.text}\n\n{more.text}")
                self._settle(steered, {"status": "ok", "endedAt": 1})
            self._finish(run, outcome)
        if run.scope.cancelled_caught:
            self._abort(run)

    async def _outcome(self, run: Run) -> Answer | Fails:
        told = self._answering()(run.session.key, run.text)
        outcome = await told if inspect.isawaitable(told) else told
        if isinstance(outcome, NeverEnds):
            await anyio.sleep_forever()
        if isinstance(outcome, str):
            return Answer(outcome)
        assert isinstance(outcome, Answer | Fails)
        return outcome

    def _read_input(self, run: Run) -> None:
        item = run.session.take(run.id)
        if item is not None:
            run.session.rows.append(Row("user", item.text, key=f"{run.id}:user"))

    def _finish(self, run: Run, outcome: Answer | Fails) -> None:
        session = run.session
        if isinstance(outcome, Fails):
            self._fail(run, outcome)
        else:
            session.rows.append(Row("assistant", outcome.text, run_id=run.answer_id, stop_reason="stop"))
            reply = {"disposition": "visible", "text": outcome.text}
            message = {
                "role": "assistant",
                "content": [{"type": "text", "text": outcome.text}],
                "timestamp": 1,
            }
            self._agent(run, "assistant", {"text": outcome.text, "delta": outcome.text})
            self._chat(run, state="delta", deltaText=outcome.text, message=message)
            self._agent(
                run,
                "lifecycle",
                {"phase": "end", "stopReason": "stop", "aborted": False, "livenessState": "working"}
                | {"terminalReply": reply, "executionSettled": True},
            )
            self._chat(run, state="final", stopReason="stop", message=message)
            self._settle(run, {"status": "ok", "endedAt": 1, "terminalReply": reply})
        self._next(session)

    def _fail(self, run: Run, fails: Fails) -> None:
        said = "The agent run failed before producing a reply."
        key = f"{run.answer_id}:terminal-error"
        row = Row("assistant", said, key=key, run_id=run.answer_id, stop_reason="error")
        if not fails.was_asked:
            row = Row("custom", said, run_id=run.answer_id, custom_type="run-failed-before-reply")
        run.session.rows.append(row)
        seen = {} if fails.reason is None else {"failoverReason": fails.reason, "provider": "scripted"}
        data = {
            "phase": "error",
            "error": fails.message,
            "livenessState": "blocked",
            "executionSettled": True,
        }
        self._agent(run, "lifecycle", data | ({"errorObservation": seen} if seen else {}))
        self._chat(run, state="error", errorMessage=fails.message, **({"errorDetail": seen} if seen else {}))
        self._emit(
            "chat",
            {
                "runId": run.answer_id,
                "sessionKey": run.session.key,
                "seq": 1,
                "state": "error",
                "errorMessage": fails.message,
            },
        )
        self._settle(run, {"status": "error", "error": fails.message}, status="error")

    def _abort(self, run: Run) -> None:
        said = "Reply operation aborted by user"
        data = {"phase": "error", "error": said, "aborted": True, "stopReason": "aborted"}
        self._agent(run, "lifecycle", data | {"executionSettled": True})
        self._chat(run, state="aborted", stopReason="aborted")
        self._settle(run, {"status": "error", "error": said, "stopReason": "aborted"}, status="error")

    def _settle(self, run: Run, result: dict[str, Any], status: str = "ok") -> None:
        run.result, run.status = result, status
        run.ended.set()

    def _next(self, session: Session) -> None:
        if self._active.get(session.key) is not None:
            del self._active[session.key]
        queue = self._queues.get(session.key)
        if queue and not self.is_draining:
            run = queue.pop(0)
            run.answer_id = fresh("run")  # a queued message runs under an id of its own
            self._begin(run)

    def abort(self, session_key: str) -> bool:
        run = self._active.pop(session_key, None)
        if run is not None:
            run.scope.cancel()
        return run is not None

    # --- what is asked about it ---

    async def wait(self, run_id: str, timeout_s: float) -> dict[str, Any]:
        run = self._runs.get(run_id)
        if run is None:
            return {"runId": run_id, "status": "timeout"}
        if (run.is_queued and not run.ended.is_set()) or run.answer_id != run_id:
            return {"runId": run_id, "status": "pending", "timeoutPhase": "queue", "providerStarted": False}
        with anyio.move_on_after(timeout_s):
            await run.ended.wait()
        return {"runId": run_id, "status": "timeout"} | run.result

    def history(self, params: dict[str, Any]) -> dict[str, Any]:
        key = params["sessionKey"]
        session = self._office.sessions.get(key) or Session(key)
        limit, offset = params.get("limit", 200), params.get("offset", 0)
        if limit > 1000:
            raise Refusal("INVALID_REQUEST", "invalid chat.history params: at /limit: must be <= 1000")
        end = len(session.rows) - offset
        start = max(0, end - limit)
        window = session.rows[start:end]
        last = params.get("pendingBefore", len(session.pending) + 1) - 1
        first = max(0, last - min(limit, 20))
        items = session.pending[first:last]
        answer: dict[str, Any] = {
            "sessionKey": key,
            "messages": [row.frame(start + number + 1) for number, row in enumerate(window)],
            "pendingInputs": {"items": [item.frame() for item in items], "total": len(session.pending)},
            "hasMore": start > 0,
            "totalMessages": len(session.rows),
            "sessionInfo": {
                "key": key,
                "status": "running" if key in self._active else "done",
                "hasActiveRun": key in self._active,
                "agentId": session.agent_id,
            },
        }
        if session.rows or session.pending:
            answer["sessionId"] = session.id
        if first > 0:
            answer["pendingInputs"]["nextBefore"] = first + 1
        if start > 0:
            answer["nextOffset"] = offset + len(window)
        if (run := self._active.get(key)) is not None:
            newest = run.steered[-1] if run.steered else run
            answer["inFlightRun"] = {"runId": newest.id, "text": "", "startedAt": 1}
        if (asked := params.get("inputRunIds")) is not None:
            waiting = {item.key for item in session.pending}  # of what was read, nothing is told
            answer["inputReceipts"] = [
                {"runId": run_id, "state": "pending"} for run_id in asked if run_id in waiting
            ]
        return answer

    # --- the end of the process, and the next one ---

    def die(self, *, killed: bool) -> None:
        """What was queued is interrupted; a turn that was under way too, if it was killed."""
        for session in self._office.sessions.values():
            for item in session.pending:
                item.state = "interrupted"
            run = self._active.get(session.key)
            if killed and run is not None and session.find(run.id) is not None:
                session.interrupted_run = run.id

    def resume(self) -> None:
        """A turn that was killed is taken up again, as a new one, by the gateway itself."""
        for session in self._office.sessions.values():
            if session.interrupted_run is None:
                continue
            session.interrupted_run = None
            last = next((row for row in reversed(session.rows) if row.role == "user"), None)
            run_id = fresh("run")
            source = {"kind": "internal_system", "sourceSessionKey": session.key}
            source["sourceTool"] = "main_session_restart_recovery"
            session.rows.append(Row("user", _RECOVERY, key=f"{run_id}:user", provenance=source))
            text = last.text if last is not None else ""
            run = self._runs[run_id] = Run(run_id, session, {"message": text}, answer_id=run_id)
            self._begin(run)

    # --- events ---

    def _status(self, run: Run, phase: str) -> None:
        self._chat(run, state="status", phase=phase)
        self._agent(run, "run_status", {"phase": phase})

    def _chat(self, run: Run, **more: Any) -> None:
        self._emit("chat", self._about(run) | more)

    def _agent(self, run: Run, stream: str, data: dict[str, Any]) -> None:
        self._emit("agent", self._about(run) | {"stream": stream, "data": data, "isHeartbeat": False})

    def _about(self, run: Run) -> dict[str, Any]:
        run.seq += 1
        session = run.session
        return {
            "runId": run.answer_id,
            "sessionKey": session.key,
            "agentId": session.agent_id,
            "seq": run.seq,
        }
