"""Routes of the hub's state: health, readiness with its issues, status, routes, metrics."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import anyio
import msgspec
from msgspec import field
from starlette.responses import Response

from hub.api.binding import ResponseHead
from hub.api.resource import (
    Caller,
    Exposed,
    Instant,
    ListPart,
    Resource,
    ResourceRegistry,
    View,
    command,
    route,
    tool,
)
from hub.api.resources.issues import CHECK_S, IssueCounts, IssuesResource, IssueView
from hub.api.resources.runs import RunListFilter, RunsResource
from hub.api.resources.tokens import LimitsView
from hub.base.clock import Clock
from hub.base.loop_lag import LoopLag
from hub.base.roles import (
    AUDITED,
    BY_ALL,
    DEVICE_REQUESTS,
    LIMITED,
    PUBLIC,
    ROLE_SCOPES,
    ROUTES,
    Principal,
    Role,
    Scope,
    roles_that_may,
)
from hub.base.supervisor import Drain
from hub.base.toml.values import HostPort
from hub.base.version import START, VERSION
from hub.health.issues import Finding, error, notice
from hub.health.issues import IssueRegistry as FoundIssues
from hub.links.roster import Roster
from hub.runs.dispatcher import Dispatcher
from hub.settings.reload import Reloader
from protocol.lifecycles import EXECUTING_RUN_STATES, RunState
from protocol.owner_grants import APPROVED, MARKED, OwnerGrant
from protocol.tables import TABLES
from storage.agents import agents
from storage.coordination import gateways
from storage.devices import devices, pairings
from storage.devices import users as devices_users
from storage.devices.browser_sessions import session_of
from storage.kernel.database import StorageError
from storage.runs import runs
from storage.store import Store

WORST: Final = 3  # issues in the status
ANYBODY: Final = "public"  # instead of a scope; "agent": needs the token of an agent


class Liveness(View):
    """State of the event loop; made without I/O."""

    status: Literal["ok", "stuck"] = "ok"


class ReadinessIssue(View):
    """An issue that the hub knows without asking, as ``GET /v1/issues`` has it.

    *explanation*: null: it does not stop the hub, and needs a token to be read.
    """

    id: str
    severity: Literal["error", "warning", "notice"]
    since: Instant
    explanation: str | None = None


class Readiness(View):
    """Readiness of the hub to take work. *degraded*: it does, but not as it should; *issues*: the reasons."""

    ready: bool
    degraded: bool = False
    issues: tuple[ReadinessIssue, ...] = ()


class StatusView(View, kw_only=True):
    """Status of the daemon."""

    name: str
    hub_id: str
    key: str  # the fingerprint of the key by which devices know this hub
    version: str
    uptime_s: float
    state: Literal["running", "draining"] = "running"
    devices_known: int | None  # that can connect; null, as of the other numbers: the database cannot be read
    devices_connected: int | None  # to any node
    devices_here: int  # to this node
    gateways_known: int = 0
    gateways_ready: int = 0
    agents: int | None
    runs: dict[RunState, int] | None  # live runs in each state; a state without runs is absent
    waiting_for: str | None = None  # why most of the newest of them wait, as a sentence
    model: str | None  # name and kind, as people read it; None: rules only
    listeners: dict[str, str]  # what listens -> where: "devices", "operator", "socket", "webhooks"
    database: str
    worst: tuple[IssueView, ...] = ()  # of the issues, the worst first
    pairing: tuple[str, ...] = ()  # names that devices report that wait for a person to let them in
    issues: IssueCounts = field(default_factory=IssueCounts)
    config_generation: int = 1  # of the settings: one more with each edit that was applied


class RouteView(View):
    """Route of the interface. *scope*: the scope that it needs; ``public``: no token is needed.

    *audit*: event of its entry in the audit log; null: it changes nothing.
    *limits*: kinds of limits that a token may have for it; it shows what is within them alone.
    """

    method: str
    path: str
    scope: str
    roles: tuple[Role, ...]
    audit: str | None = None
    limits: tuple[str, ...] = ()


class DeviceRequestView(View):
    """Request that a device may send over its connection, and the objects that it applies to.

    *audit*: event of its entry in the audit log; null: it changes nothing.
    """

    method: str
    of: str
    audit: str | None = None


class RoutesView(View):
    """The table of roles: all other routes and requests are refused to everybody."""

    roles: dict[Role, tuple[Scope, ...]]
    routes: tuple[RouteView, ...]
    device_requests: tuple[DeviceRequestView, ...]


class MissingRight(View):
    """Right that the caller lacks. *what*: what it could do then; *command*: gives the right."""

    what: str
    command: str


class MeView(View):
    """Caller of the request. *user*: the one whose things are visible; null: those of all users.

    *is_owner*: the session is that of a device's owner, and decides in their name.
    """

    actor: str
    name: str
    role: Role | None
    scopes: tuple[Scope, ...]
    user: str | None
    limits: LimitsView | None = None
    is_owner: bool = False
    missing: tuple[MissingRight, ...] = ()


_GRANTED: Final = {  # by the owner of a device: what their session does with each
    f"{OwnerGrant.REVIEW_REMOTE.value}={MARKED},{APPROVED}": "decide here about all you are shown",
    f"{OwnerGrant.ROWS_READ.value}={','.join(TABLES)}": "see here what you approved",
    OwnerGrant.PLACES.value: "change here where it goes",
}
_LACKING: Final = {
    Scope.RUN: "start runs",
    Scope.REVIEW: "decide about suggestions",
    Scope.DEVICES: "add agents and devices",
    Scope.SETTINGS: "add accounts, change settings",
}


def _missing(caller: Principal, granted: Mapping[str, Collection[str]] | None) -> tuple[MissingRight, ...]:
    """Return what the caller may not do. *granted*: grants of the device's owner, if the caller is that."""
    lacking = [what for scope, what in _LACKING.items() if not caller.may(scope)]
    is_part = lacking or caller.limits.kinds
    found = {"hub dashboard": ", ".join(lacking) or "see what is beyond its limits"} if is_part else {}
    held = granted or {}
    for grant, what in _GRANTED.items() if granted is not None else ():
        name, _, words = grant.partition("=")
        is_whole = name != OwnerGrant.REVIEW_REMOTE or {*words.split(",")} <= {*held.get(name, ())}
        if name not in held or not is_whole:
            found[f"hub grants +{grant}"] = what
    return tuple(MissingRight(what=what, command=command) for command, what in found.items())


class Exposition(Response):
    """Prometheus' text format."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"


class ListenerAddresses(msgspec.Struct, frozen=True):
    """Addresses of a running hub."""

    devices: tuple[str, int]
    operator: HostPort
    socket: Path
    webhooks: HostPort | None = None

    def spelled(self) -> dict[str, str]:
        """Return the addresses as text, by listener."""
        spelled = {
            "devices": str(HostPort(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }
        return spelled if self.webhooks is None else spelled | {"webhooks": str(self.webhooks)}


class HubInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a hub.

    Attributes:
        key: fingerprint of the key by which devices know this hub.
        model: returns name and kind of the model in use, as people read it; None: rules only.
    """

    hub_id: str
    key: str
    name: str
    model: Callable[[], str | None]
    database: str


WAITS_EXAMINED: Final = 50  # newest runs in one state


class SystemResource(Resource):
    """State of the hub itself."""

    name, path = "system", ""

    def __init__(
        self,
        hub: ResourceRegistry,
        store: Store,
        *,
        about: HubInfo,
        clock: Clock,
        roster: Roster,
        dispatcher: Dispatcher,
        drain: Drain,
        reloader: Reloader,
        issues: FoundIssues,
        where: Callable[[], ListenerAddresses | None] = lambda: None,
        is_gateway_ready: Callable[[str], bool] = lambda _: False,
        probe: Callable[[], Awaitable[None]] | None = None,
        lag: LoopLag | None = None,
    ) -> None:
        """Create the resource, and add what it knows to the issues.

        Args:
            where: returns the addresses of the listeners, once everything listens.
            is_gateway_ready: returns whether the gateway of a name is connected.
            probe: asks the database; its condition is among the issues then.
        """
        self._hub = hub
        self._store = store
        self._about = about
        self._clock = clock
        self._roster = roster
        self._dispatcher = dispatcher
        self._drain = drain
        self._reloader = reloader
        self._issues = issues
        self._is_gateway_ready = is_gateway_ready
        self._probe = probe
        self._lag = lag
        self._started = clock.monotonic()
        self._where = where
        issues.watch(self._not_taking_work)

    @route("GET", "/healthz", PUBLIC, also=[503], is_whole=True)
    async def health(self, head: ResponseHead) -> Liveness:
        """Answer 200 if the event loop turns. No I/O, no detail."""
        is_stuck = self._lag is not None and self._lag.is_stuck
        head.status = 503 if is_stuck else 200
        return Liveness(status="stuck" if is_stuck else "ok")

    @route("GET", "/readyz", PUBLIC, also=[503], is_whole=True)
    async def readiness(self, head: ResponseHead) -> Readiness:
        """Answer 200 if the hub takes work, else 503, with the reasons: issues that need no further check."""
        if self._probe is not None:
            await self._probe()
        known = self._issues.known
        is_ready = not any(issue.found.is_stop for issue in known)
        head.status = 200 if is_ready else 503
        return Readiness(
            ready=is_ready,
            degraded=any(not issue.found.is_stop for issue in known),
            issues=tuple(
                ReadinessIssue.from_row(
                    issue, issue.found, explanation=issue.found.explanation if issue.found.is_stop else None
                )
                for issue in known
            ),
        )

    @route("GET", "/metrics", Scope.READ, is_whole=True)
    async def metrics(self, exposed: Exposed) -> Exposition:
        """Return every metric of the process."""
        return Exposition(exposed())

    @tool()
    @route("GET", "/v1/me", Scope.READ, within=BY_ALL)
    async def me(self, caller: Caller) -> MeView:
        """Return who the caller is, and what it may do."""
        known, session, names = await self._store.read(
            lambda c: (
                devices_users.list_users(c, user_id=self.user_id, limit=2),
                session_of(c, caller.actor),
                devices.names_of_devices(c, caller.limits.devices),
            )
        )
        owned = None if session is None or len(known) > 1 else session.device_id
        link = None if owned is None else self._roster.find(owned)
        return MeView(
            actor=caller.actor,
            name=caller.name,
            role=caller.role,
            scopes=tuple(scope for scope in Scope if scope in caller.scopes),
            user=known[0].name if self.user_id else None,
            limits=LimitsView.of(caller.limits, names),
            is_owner=owned is not None,
            missing=_missing(caller, None if link is None else link.owner_grants),
        )

    @route("GET", "/v1/routes", Scope.READ, is_whole=True, within=BY_ALL)
    async def table(self) -> RoutesView:
        """Return the routes of this hub with the roles that may use them, and the requests of devices."""
        return routes_view()

    @command(
        "status",
        example="hub status",
        json="status",
        help="Show the state of the running hub on one screen.\n\nExits with 3 when no hub is running.",
        facts=(
            "{name} ({state}) as hub",
            "version",
            "uptime_s|duration as up for",
            "*|connected_devices as devices",
            "pairing|waiting_devices as pairing?",
            "*|ready_gateways as gateways?",
            "agents",
            "issues|issue_counts as issues",
            "runs|run_counts as runs",
            "waiting_for as waiting for?",
            "model|or_rules as model",
            "database",
            "generation {config_generation} as settings",
            "listeners|named as listens",
        ),
        quotes=("key|key",),
        prints="*|worst_issues",
    )
    @route("GET", "/v1/status", Scope.READ)
    async def status(self) -> StatusView:
        """Return version, uptime, devices, runs, model and listeners."""
        mine, about = self.user_id, self._about
        where = self._where()
        here = sum(mine in (None, link.user_id) for link in self._roster.connected())
        is_shared = self._store.is_shared
        at = self._now
        numbers = None
        try:
            with anyio.move_on_after(CHECK_S):
                numbers = await self._store.read(
                    lambda c: (
                        devices.count_devices(c, at=at, user_id=mine),
                        devices.count_connected(c, user_id=mine) if is_shared else here,
                        gateways.list_gateways(c, user_id=mine),
                        agents.count_agents(c, user_id=mine),
                        runs.count_live(c, user_id=mine),
                        pairings.list_pairings(c, at=at) if mine is None else (),
                    )
                )
        except StorageError:
            if not any(issue.found.is_stop for issue in self._issues.known):  # else they are shown
                raise
        known, connected, known_gateways, known_agents, run_counts, waiting = numbers or (None,) * 6
        worst, counts = await self._hub.resource(IssuesResource, mine).worst(WORST)
        ready_gateways = {row.name: self._is_gateway_ready(row.name) for row in known_gateways or ()}
        return StatusView.from_row(
            about,
            version=VERSION,
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            state="draining" if self._is_draining else "running",
            devices_known=known,
            devices_connected=connected,
            devices_here=here,
            gateways_known=len(ready_gateways),
            gateways_ready=sum(ready_gateways.values()),
            agents=known_agents,
            runs=run_counts,
            waiting_for=await self._main_wait(run_counts or {}),
            model=about.model(),
            listeners={} if where is None else where.spelled(),
            worst=worst,
            pairing=tuple(pairing.label for pairing in waiting or ()),
            issues=counts,
            config_generation=self._reloader.generation,
        )

    async def _main_wait(self, live: Mapping[RunState, int]) -> str | None:
        """Return why most of the newest waiting runs wait; None: none does, or the database does not answer.

        *live*: numbers of live runs by state.
        """
        state = max(live.keys() - EXECUTING_RUN_STATES, key=live.__getitem__, default=None)
        reasons = Counter[str]()
        if state is not None:
            with suppress(StorageError), anyio.move_on_after(CHECK_S):
                asked, part = RunListFilter(state=state), ListPart(limit=WAITS_EXAMINED)
                newest = await self._hub.resource(RunsResource, self.user_id).newest(asked, part)
                reasons.update(run.waiting_for for run in newest if run.waiting_for is not None)
        return next((reason for reason, _ in reasons.most_common(1)), None)

    @property
    def _is_draining(self) -> bool:
        return self._drain.is_begun or self._dispatcher.is_draining or self._roster.is_draining

    def _not_taking_work(self, now: datetime) -> Iterator[Finding]:
        if self._is_draining:
            explanation = "the hub is stopping: it starts no run, and ends when those in progress are paused"
            yield notice("hub.draining", explanation, fix=START, is_stop=True)
        elif self._roster.is_cut_off():
            yield error(
                "node.cut_off",
                "this node does not reach its database, and others do: its devices were sent to them",
                fix="see what keeps it from the database: hub logs --level error; it goes on by itself",
                is_stop=True,
            )
        elif self._where() is None:
            explanation, fix = "the hub is starting: it does not listen yet", "wait; see hub logs"
            yield notice("hub.starting", explanation, fix=fix, is_stop=True)


def routes_view() -> RoutesView:
    """Return the tables of ``roles``."""
    return RoutesView(
        roles={role: tuple(scope for scope in Scope if scope in ROLE_SCOPES[role]) for role in Role},
        routes=tuple(
            RouteView(
                method=asked.method,
                path=asked.path,
                scope=ANYBODY if need is PUBLIC else str(need.value),
                roles=roles_that_may(need),
                audit=AUDITED[asked] or None,
                limits=tuple(kind for kind in BY_ALL if kind in LIMITED[asked]),
            )
            for asked, need in ROUTES.items()
        ),
        device_requests=tuple(
            DeviceRequestView(method=method, of=need.of, audit=need.event or None)
            for method, need in DEVICE_REQUESTS.items()
        ),
    )
