"""State of the hub itself: whether it lives, whether it is ready, its status, and the table of roles."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import anyio
import msgspec
from msgspec import field
from starlette.responses import Response

from hub.api.binding import Head
from hub.api.door.roles import (
    AUDITED,
    DEVICE_REQUESTS,
    PUBLIC,
    ROLE_SCOPES,
    ROUTES,
    Role,
    Scope,
    roles_that_may,
)
from hub.api.noun import Noun, command, route
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.issues import IssueCounts, Issues
from hub.api.parameters import Caller, Exposed, Hub
from hub.api.view import View
from hub.clock import Clock, epoch_ms
from hub.drain import Drain
from hub.health.conditions import Conditions
from hub.links.roster import Roster
from hub.loop_lag import LoopLag
from hub.runs.dispatcher import Dispatcher
from hub.runs.waiting import Hold, describe_hold
from hub.settings.reload import Reloader
from hub.settings.values import Address
from hub.version import VERSION
from protocol.errors import HubError
from protocol.lifecycles import RunState
from storage.agents import agents
from storage.coordination import gateways
from storage.devices import devices, nodes, pairings, users
from storage.kernel.database import StorageError
from storage.runs import runs
from storage.store import Store

ANSWER_S: Final = 0.03  # of the 50 ms that the whole response may take
FRESH_S: Final = 1.0  # the route is public: the database is queried at most this often
VALID_S: Final = 30.0  # a slow database counts as well if it answered this recently
ANYBODY: Final = "public"  # instead of a scope; "agent": needs the token of an agent


class Health(View):
    """State of the event loop; made without I/O."""

    status: Literal["ok", "stuck"] = "ok"


class Check(View):
    """A condition of a hub that works; *detail* is for a person and has no secrets.

    *degraded*: it works, but not as it should, and a person has to look into it.
    """

    name: str
    ok: bool
    degraded: bool = False
    detail: str | None = None


class Readiness(View):
    """Readiness of the hub to take work, and the reasons if it is not."""

    ready: bool
    degraded: bool = False  # it works, but not as it should
    checks: tuple[Check, ...] = ()


class StatusView(View, kw_only=True):
    """Status of the daemon."""

    name: str
    hub_id: str
    key: str  # the fingerprint of the key by which devices know this hub
    version: str
    uptime_s: float
    state: Literal["running", "draining"] = "running"
    devices_known: int | None  # null, as of the other numbers: the database cannot be read
    devices_connected: int | None  # to any node
    devices_here: int  # to this node
    gateways_known: int = 0
    gateways_ready: int = 0
    agents: int | None
    runs: dict[RunState, int] | None  # live runs in each state; a state without runs is absent
    model: str | None  # name and kind, as people read it; None: rules only
    listeners: dict[str, str]  # what listens -> where: "devices", "operator", "socket", "webhooks"
    database: str
    held_back: str | None = None  # a sentence: until when nothing is caught up, as the hub died too often
    conditions: tuple[str, ...] = ()  # sentences: why no run is started; they are issues too
    pairing: tuple[str, ...] = ()  # names that devices report that wait for a person to let them in
    issues: IssueCounts = field(default_factory=IssueCounts)
    config_generation: int = 1  # of the settings: one more with each edit that was applied


class RouteView(View):
    """Route of the interface. *scope*: the scope that it needs; ``public``: no token is needed.

    *audit*: event of its entry in the audit log; null: it changes nothing.
    """

    method: str
    path: str
    scope: str
    roles: tuple[Role, ...]
    audit: str | None = None


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


class MeView(View):
    """Caller of the request. *user*: the one whose things are visible; null: those of all users."""

    actor: str
    name: str
    role: Role | None
    scopes: tuple[Scope, ...]
    user: str | None


class Exposition(Response):
    """Prometheus' text format."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"


class ReadinessChecks:
    """Checks of the database, and *conditions*, which need no I/O, within the timeout of a load balancer."""

    def __init__(
        self, *, store: Store, clock: Clock, conditions: Callable[[], Iterable[Check]] = tuple
    ) -> None:
        self._store = store
        self._clock = clock
        self._conditions = conditions
        self._answered_at: float | None = None  # monotonic time of the database's last answer

    async def readiness(self) -> Readiness:
        """Run all checks. The hub is ready if all are ok, and degraded if a check is degraded."""
        checks = (await self._database(), *self._conditions())
        return Readiness(
            ready=all(check.ok for check in checks),
            degraded=any(check.degraded for check in checks),
            checks=checks,
        )

    async def _database(self) -> Check:
        if self._answered_within(FRESH_S):
            return Check(name="database", ok=True)
        try:
            with anyio.move_on_after(ANSWER_S) as waiting:
                await self._store.write(nodes.touch)
                self._answered_at = self._clock.monotonic()
        except HubError as exc:
            self._answered_at = None
            return Check(name="database", ok=False, detail=str(exc))
        if waiting.cancelled_caught and not self._answered_within(VALID_S):
            return Check(name="database", ok=False, detail=f"no answer within {ANSWER_S * 1000:g} ms")
        return Check(name="database", ok=True)

    def _answered_within(self, seconds: float) -> bool:
        at = self._answered_at
        return at is not None and self._clock.monotonic() - at < seconds


class Where(msgspec.Struct, frozen=True):
    """Addresses of a running hub."""

    devices: tuple[str, int]
    operator: Address
    socket: Path
    webhooks: Address | None = None

    def spelled(self) -> dict[str, str]:
        """Return the addresses as text, by listener."""
        spelled = {
            "devices": str(Address(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }
        return spelled if self.webhooks is None else spelled | {"webhooks": str(self.webhooks)}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a hub.

    Attributes:
        key: fingerprint of the key by which devices know this hub.
        model: returns name and kind of the model in use, as people read it; None: rules only.
        hold: until when nothing is caught up, as the hub died too often; None: it did not.
    """

    hub_id: str
    key: str
    name: str
    model: Callable[[], str | None]
    database: str
    hold: Hold | None = None


class System(Noun):
    """State of the hub itself."""

    name, path = "system", ""

    def __init__(
        self,
        hub: Hub,
        store: Store,
        *,
        about: About,
        clock: Clock,
        roster: Roster,
        dispatcher: Dispatcher,
        drain: Drain,
        reloader: Reloader,
        where: Callable[[], Where | None] = lambda: None,
        conditions: Conditions | None = None,
        lag: LoopLag | None = None,
    ) -> None:
        """Create the noun. *where*: returns the addresses of the listeners, once everything listens."""
        self._hub = hub
        self._store = store
        self._about = about
        self._clock = clock
        self._roster = roster
        self._dispatcher = dispatcher
        self._drain = drain
        self._reloader = reloader
        self._conditions = conditions or Conditions()
        self._lag = lag
        self._started = clock.monotonic()
        self._where = where
        self._checks = ReadinessChecks(store=store, clock=clock, conditions=self._held_conditions)

    @route("GET", "/healthz", PUBLIC, also=[503], is_whole=True)
    async def health(self, head: Head) -> Health:
        """Answer 200 if the event loop turns. No I/O, no detail."""
        is_stuck = self._lag is not None and self._lag.is_stuck
        head.status = 503 if is_stuck else 200
        return Health(status="stuck" if is_stuck else "ok")

    @route("GET", "/readyz", PUBLIC, also=[503], is_whole=True)
    async def readiness(self, head: Head) -> Readiness:
        """Answer 200 if the hub takes work, else 503, with the checks either way."""
        readiness = await self._checks.readiness()
        head.status = 200 if readiness.ready else 503
        return readiness

    @route("GET", "/metrics", Scope.READ, is_whole=True)
    async def metrics(self, exposed: Exposed) -> Exposition:
        """Return every metric of the process."""
        return Exposition(exposed())

    @route("GET", "/v1/me", Scope.READ)
    async def me(self, caller: Caller) -> MeView:
        """Return who the caller is, and what it may do."""
        (user,) = await self._store.read(users.list_users, user_id=self.user_id) if self.user_id else (None,)
        return MeView(
            actor=caller.actor,
            name=caller.name,
            role=caller.role,
            scopes=tuple(scope for scope in Scope if scope in caller.scopes),
            user=None if user is None else user.name,
        )

    @route("GET", "/v1/routes", Scope.READ, is_whole=True)
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
            "held_back|held_back as held back?",
            "conditions as stopped?",
            "issues|issue_counts as issues",
            "runs|run_counts as runs",
            "model|or_rules as model",
            "database",
            "generation {config_generation} as settings",
            "listeners|named as listens",
        ),
        quotes=("key|key",),
    )
    @route("GET", "/v1/status", Scope.READ)
    async def status(self) -> StatusView:
        """Return version, uptime, devices, runs, model and listeners."""
        mine, about = self.user_id, self._about
        where = self._where()
        here = sum(mine in (None, link.user_id) for link in self._roster.connected())
        is_shared = self._store.is_shared
        at = epoch_ms(self._clock.now())
        numbers = None
        try:
            numbers = await self._store.read(
                lambda c: (
                    devices.count_devices(c, user_id=mine),
                    devices.count_connected(c, user_id=mine) if is_shared else here,
                    gateways.list_gateways(c, user_id=mine),
                    agents.count_agents(c, user_id=mine),
                    runs.count_live(c, user_id=mine),
                    pairings.list_pairings(c, at=at) if mine is None else (),
                )
            )
        except StorageError:
            if not self._conditions.current:  # else they are shown
                raise
        known, connected, known_gateways, known_agents, run_counts, waiting = numbers or (None,) * 6
        ready_gateways = self._hub.noun(Gateways, mine).ready(known_gateways or [])
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
            model=about.model(),
            listeners={} if where is None else where.spelled(),
            held_back=self._held_back,
            conditions=tuple(found.explanation for found in self._conditions.current),
            pairing=tuple(one.label for one in waiting or ()),
            issues=await self._hub.noun(Issues, mine).counts(),
            config_generation=self._reloader.generation,
        )

    @property
    def _is_draining(self) -> bool:
        return self._drain.is_begun or self._dispatcher.is_draining or self._roster.is_draining

    @property
    def _held_back(self) -> str | None:
        hold = self._about.hold
        return None if hold is None else describe_hold(hold, self._clock.now())

    def _held_conditions(self) -> Iterator[Check]:
        """Yield the checks that need no I/O."""
        yield Check(name="listeners", ok=self._where() is not None)
        for found in self._conditions.current:
            yield Check(name=found.id, ok=False, detail=found.explanation)
        yield Check(name="not draining", ok=not self._is_draining)
        degraded = self._reloader.on_last_good
        detail = "hub.toml was broken at the start; in use is what was good last" if degraded else None
        yield Check(name="settings", ok=True, degraded=degraded, detail=detail)
        held = self._held_back
        yield Check(name="not held back", ok=True, degraded=held is not None, detail=held)


def routes_view() -> RoutesView:
    """Return the tables of ``api/door/roles``."""
    return RoutesView(
        roles={role: tuple(scope for scope in Scope if scope in ROLE_SCOPES[role]) for role in Role},
        routes=tuple(
            RouteView(
                method=asked.method,
                path=asked.path,
                scope=ANYBODY if need is PUBLIC else str(need.value),
                roles=roles_that_may(need),
                audit=AUDITED[asked] or None,
            )
            for asked, need in ROUTES.items()
        ),
        device_requests=tuple(
            DeviceRequestView(method=method, of=need.of, audit=need.event or None)
            for method, need in DEVICE_REQUESTS.items()
        ),
    )
