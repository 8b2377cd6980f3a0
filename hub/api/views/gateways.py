"""What the operator's side is told of gateways. As in ``api.views.view``: a field is added, never renamed."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

GatewayWord = Literal["connecting", "ready", "waiting", "parked", "refused", "stopped"]


class GatewayProblemView(View):
    """What keeps the hub from a gateway. *code*: one word for programs; *hint*: what to do, may be empty."""

    code: str
    message: str
    hint: str = ""


class GatewayView(View):
    """A gateway of hub.toml, and how the connection to it stands.

    *state*: *ready*, or *connecting*; *waiting*: tried again by itself, soon; *parked*: somebody has to
    approve this hub there; *refused*: somebody has to change something; *stopped*: not meant to be
    connected. *since*: since when it is so; *unreachable_since*: since when it is not ready, however often
    it was tried. *restarts*: starts of the gateway seen since the first.
    """

    id: str
    name: str
    user: str
    state: GatewayWord
    since: AwareDatetime
    unreachable_since: AwareDatetime | None = None
    next_try_at: AwareDatetime | None = None
    problem: GatewayProblemView | None = None
    admin_problem: GatewayProblemView | None = None  # of the last try to get admin rights there
    version: str | None = None
    scopes: tuple[str, ...] = ()
    restarts: int = 0
    agents: int = 0  # of the hub's that live there
    agents_online: int = 0
    main_agent: str | None = None


class GatewayAgentView(View):
    """An agent that lives at a gateway. *problem*: why it could not be made there."""

    agent: str
    role: str  # main, lead or worker
    remote_id: str
    state: str  # wanted, creating, ready or failed
    problem: str | None = None
    connectivity: str
    activity: str
    availability: str
    health: str


class GatewayDetail(GatewayView):
    """A gateway with the hub's agents that live there, by name."""

    members: tuple[GatewayAgentView, ...] = ()
