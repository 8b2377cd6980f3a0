"""How an agent stands, as operators are told of it and write it."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from hub.api.views.view import View
from hub.settings.values import refusal


class SinceView(View):
    """Where an agent stands on one axis: since when, why, and by whom.

    *since* is None where the history does not reach back so far. *moves*: where it may go from there.
    """

    value: str
    since: AwareDatetime | None = None
    reason: str | None = None
    actor: str | None = None
    moves: tuple[str, ...] = ()


class StandingView(View):
    """How an agent stands: four axes that are stored, and *activity*, which its runs make.

    *recovery_at*: when an exhausted agent is back; *probe_at*: when it is asked whether it is, where
    nobody knows. *axes* tells of each axis since when and why.
    """

    agent: str
    lifecycle: str
    availability: str
    connectivity: str
    health: str
    activity: str
    health_reason: str | None = None
    exhaust_reason: str | None = None
    exhausted_at: AwareDatetime | None = None
    recovery_at: AwareDatetime | None = None
    probe_at: AwareDatetime | None = None
    runs_waiting: int = 0
    runs_executing: int = 0
    runs_running: int = 0
    max_concurrent_runs: int = 1
    last_heartbeat_at: AwareDatetime | None = None
    last_activity_at: AwareDatetime
    resource_usage: dict[str, Any]
    metadata: dict[str, Any]
    version: int
    axes: dict[str, SinceView]


class StandingChange(View):
    """What to change of it; what is left out stays. All of it is done, or nothing."""

    lifecycle: str | None = None
    availability: str | None = None
    connectivity: str | None = None
    health: str | None = None
    reason: str | None = Field(default=None, max_length=1_000, pattern=r"^[^\x00]*$")
    exhaust_reason: Literal["rate_limit", "billing", "budget"] | None = None
    recovery_at: AwareDatetime | None = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _derived_is_not_written(cls, given: Any) -> Any:
        if isinstance(given, dict) and "activity" in given:
            hint = "start, pause or cancel runs instead"
            raise refusal("derived", "it is derived from runs, and not written", key="activity", hint=hint)
        return given


class AgentMoveView(View):
    """One move of an agent on one axis. *snapshot*: where it stood on each axis after it."""

    seq: int
    at: AwareDatetime
    axis: str
    before: str | None
    after: str
    reason: str | None
    actor: str
    snapshot: dict[str, str]
