"""Route by which an agent reports its heartbeat over HTTP."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hub.agents.heartbeats import SILENT_S, Heartbeats
from hub.agents.json_objects import validated_object
from hub.api.binding import OPTIONAL, bad_request
from hub.api.resource import (
    Caller,
    Instant,
    Resource,
    View,
    audited,
    command,
    route,
)
from hub.base.clock import Clock, epoch_ms
from hub.base.roles import AGENT, Scope
from protocol.agent_status import FINAL, Lifecycle
from protocol.coordination import AgentBeat
from protocol.errors import CodedError, ErrorCode
from storage.agents import agent_states, agents
from storage.agents.agents import AgentRow
from storage.store import Store

_HEARTBEAT_REFUSED = (
    ErrorCode.UNKNOWN_AGENT,
    ErrorCode.BAD_PARAMS,
    ErrorCode.BAD_STATUS,
    ErrorCode.TOO_LARGE,
    ErrorCode.RATE_LIMITED,
)


Detail = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$")]


class HeartbeatBody(View):
    """A sign of life of an agent, with its state. What people have set stays.

    *status*: words of a calendar and of the foundation; ``busy`` and ``processing``: it works on something.
    *state_detail*: ``ERROR`` or ``ERROR: why``. *resource_usage*: the newest is kept. *recovery_at*: end of
    an exhaustion, if it is known.
    """

    status: Literal["idle", "on_call", "busy", "waiting", "processing", "exhausted", "offline", "error"] = (
        "idle"
    )
    state_detail: Detail | None = None
    resource_usage: dict[str, Any] = {}
    exhaust_reason: Literal["rate_limit", "billing"] | None = None
    recovery_at: Instant | None = None


class HeartbeatView(View, kw_only=True):
    """Status of an agent after its heartbeat.

    *offline_after_s*: without another heartbeat the agent is offline after so many seconds.
    """

    agent: str
    lifecycle: str
    availability: str
    connectivity: str
    health: str
    activity: str
    recovery_at: Instant | None = None
    last_heartbeat_at: Instant
    offline_after_s: float = SILENT_S


class AgentHeartbeatsResource(Resource):
    """Heartbeats of agents without a device."""

    name, path = "agent_heartbeats", ""

    def __init__(self, store: Store, heartbeats: Heartbeats, clock: Clock) -> None:
        self._store = store
        self._heartbeats = heartbeats
        self._clock = clock

    @command(
        "agents heartbeat NAME",
        example="hub agents heartbeat planner --status busy",
        json="agent_heartbeat",
        help="Send a heartbeat of an agent without a device, which is online for 45 seconds then.",
        options={
            "status": "State of the agent, as in on_call.",
            "state_detail": "ERROR, or ERROR: and the reason.",
            "exhaust_reason": "With exhausted: rate_limit or billing.",
            "recovery_at": "With exhausted: end of the exhaustion, with its zone.",
        },
        message="agent {agent} is {connectivity}, {availability} and {activity}",
    )
    @route("POST", "/v1/agents/{name}/heartbeat", Scope.RUN, errors=_HEARTBEAT_REFUSED)
    @audited("agent.heartbeat", is_act=True, is_often=True)
    async def accept(self, name: str, body: Annotated[HeartbeatBody, OPTIONAL]) -> HeartbeatView:
        """Take a heartbeat of an agent without a device; it is offline 45 seconds after its last one.

        After 30 at once, more than one a second is refused, and counts as a sign of life only.
        """
        return await self._accept(await self._agent_called(name), body)

    @route("POST", "/v1/agent/heartbeat", AGENT, errors=_HEARTBEAT_REFUSED)
    @audited("agent.heartbeat", is_act=True, is_often=True)
    async def accept_own(self, caller: Caller, body: Annotated[HeartbeatBody, OPTIONAL]) -> HeartbeatView:
        """Take a heartbeat of the agent that calls with its own token."""
        assert caller.agent_id is not None
        return await self._accept(await self._store.read(agents.get_agent, caller.agent_id), body)

    async def _accept(self, agent: AgentRow, body: HeartbeatBody) -> HeartbeatView:
        if agent.archived_at is not None:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, f"the agent {agent.name!r} was removed")
        if agent.device_id is not None or agent.executor != "device":
            where = f"gateway {agent.gateway!r}" if agent.gateway else f"device {agent.device_name!r}"
            where = where if agent.device_name or agent.gateway else "the connected device of its user"
            raise CodedError(
                ErrorCode.BAD_PARAMS,
                f"agent {agent.name!r} works at {where}, which reports on it",
                hint="only an agent without a device sends heartbeats of its own",
            )
        if agent.lifecycle == Lifecycle.TERMINATED:
            raise CodedError(
                ErrorCode.BAD_STATUS, f"the agent {agent.name!r} is terminated, for good", hint=FINAL
            )
        await self._heartbeats.accept(agent.id, self._beat(agent, body))
        state = await self._store.read(agent_states.find_state, agent.id)
        last_at = self._heartbeats.last(agent.id)
        return HeartbeatView.from_row(state, agent=agent.name, last_heartbeat_at=last_at)

    def _beat(self, agent: AgentRow, body: HeartbeatBody) -> AgentBeat:
        """Return it as a device would send it. Raises CodedError."""
        recovery_at = None if body.recovery_at is None else epoch_ms(body.recovery_at)
        if body.status != "exhausted" and (body.exhaust_reason or recovery_at):
            raise bad_request(["exhaust_reason, recovery_at: they belong to the status exhausted"])
        if recovery_at is not None and recovery_at <= self._now:
            raise bad_request(["recovery_at: it lies in the past"])
        most = self._heartbeats.usage_bytes
        usage = validated_object(
            "resource_usage", body.resource_usage, most=most, limit="resource_usage_bytes"
        )
        values = msgspec.structs.asdict(body) | {"resource_usage": usage, "recovery_at_ms": recovery_at}
        del values["recovery_at"]
        return AgentBeat(agent_id=agent.id, **values)
