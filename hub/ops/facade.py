"""The hub as the operator's side sees it: what may be asked, and the shape of each answer.

``HubFacade`` is the contract between ``ops/api`` and the daemon, which implements
it; ``UnknownAgent`` and ``UnknownRun`` are the store's. The models are the bodies of
the REST interface and what ``--json`` prints: a field is added, never renamed. Times
are aware UTC; ids are text.
"""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from protocol.errors import ErrorCode, HubError
from protocol.lifecycles import RunOutcome, RunState, UnitState


class UnknownToken(HubError):
    """No token has this id."""

    code = ErrorCode.UNKNOWN_TOKEN


class View(BaseModel):
    """The base of every answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Health(View):
    """Whether the event loop turns. Costs no I/O and tells no detail."""

    status: Literal["ok", "stuck"] = "ok"


class Check(View):
    """One thing a hub needs in order to work; *detail* is for a person and tells no secret."""

    name: str
    ok: bool
    detail: str | None = None


class Readiness(View):
    """Whether the hub takes work now, and if not, why."""

    ready: bool
    checks: tuple[Check, ...] = ()


class StatusView(View):
    """One screen about the daemon."""

    name: str
    hub_id: str
    version: str
    uptime_s: float
    state: Literal["running", "draining"] = "running"
    devices_known: int
    devices_connected: int
    agents: int
    runs: dict[RunState, int]  # how many runs stand in each state; a state without runs may be absent
    model: str | None  # name and kind, as people read it; None: rules only
    listeners: dict[str, str]  # what listens -> where: "devices", "operator", "socket"
    database: str


class DeviceView(View):
    """A device that is known, connected or not."""

    id: str
    name: str
    connected: bool
    platform: str | None = None
    capabilities: tuple[str, ...] = ()  # of the live connection; empty while there is none
    created_at: AwareDatetime
    last_seen_at: AwareDatetime | None = None


class RunView(View):
    """A run in one line."""

    id: str
    agent: str
    device: str
    state: RunState
    outcome: RunOutcome | None = None
    reason: str | None = None  # why it is paused, failed or cancelled: a stable word
    waiting_for: str | None = None  # a sentence: what has to happen before it goes on
    attempt: int = 1
    units_total: int = 0
    units_done: int = 0
    units_skipped: int = 0  # known from an earlier run, or left out on purpose
    units_failed: int = 0
    items_created: int = 0
    error_count: int = 0
    model_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None


class UnitView(View):
    """One file of a run. *items* counts what the device took; *error* says why it failed."""

    path: str
    state: UnitState
    items: int = 0
    error: str | None = None


class RunErrorView(View):
    """One line of the run's error log. *path* is missing where the run as a whole is meant."""

    path: str | None = None
    code: str
    message: str
    at: AwareDatetime


class MoveView(View):
    """One move of the run's state."""

    at: AwareDatetime
    before: RunState | None
    after: RunState
    actor: str
    reason: str | None = None


class RunDetail(RunView):
    """A run with everything that is known about it."""

    units: tuple[UnitView, ...] = ()
    errors: tuple[RunErrorView, ...] = ()
    history: tuple[MoveView, ...] = ()


class RunProgress(View):
    """The run at this moment. *seq* grows by one with each; the last one bears a final state."""

    seq: int
    run: RunView
    working_on: str | None = None  # the file at hand


class AgentView(View):
    """An agent and its last run."""

    id: str
    name: str
    device: str
    device_connected: bool
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    schedule: str | None = None
    timezone: str = "UTC"
    source: Literal["file", "api"] = "file"
    last_run: RunView | None = None


class TokenView(View):
    """A token without its secret."""

    id: str
    device: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class NewToken(View):
    """A token just made. *token* is shown this once: the hub keeps only its hash."""

    id: str
    device: str
    token: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None


class HubFacade(Protocol):
    """What an operator can ask of a running hub.

    Every method may raise any ``HubError``; its code becomes the HTTP status.
    """

    def health(self) -> Health:
        """Answer at once, without I/O."""
        ...

    async def readiness(self) -> Readiness:
        """Look at what the hub needs: database, listeners, not draining."""
        ...

    async def status(self) -> StatusView: ...

    async def devices(self) -> list[DeviceView]:
        """All devices that are known, by name."""
        ...

    async def agents(self) -> list[AgentView]:
        """All agents that are not archived, by name."""
        ...

    async def agent(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        ...

    async def runs(self, *, agent: str | None, limit: int) -> list[RunView]:
        """The newest runs first, at most *limit*.

        Raises:
            UnknownAgent: *agent* was given and there is none of that name.
        """
        ...

    async def run(self, run_id: str) -> RunDetail:
        """Raises UnknownRun."""
        ...

    async def start_run(self, agent_name: str, idempotency_key: str | None) -> RunView:
        """Queue a run of an agent; the same key gives the run that it gave before.

        Raises:
            UnknownAgent: nothing was queued.
        """
        ...

    def follow_run(self, run_id: str) -> AsyncGenerator[RunProgress]:
        """The run now, then after each change, until its state is final.

        A reader that is slower than the run misses steps, never the last one. Raises
        UnknownRun at the first step. Whoever reads it closes it (``contextlib.aclosing``).
        """
        ...

    async def create_token(self, device_name: str) -> NewToken:
        """Make a token for the device of that name, which is made too where it is new."""
        ...

    async def tokens(self) -> list[TokenView]:
        """All tokens, revoked ones too, newest first."""
        ...

    async def revoke_token(self, token_id: str) -> TokenView:
        """Revoke a token and close the connections it opened; revoking twice is no error.

        Raises:
            UnknownToken: nothing changed.
        """
        ...
