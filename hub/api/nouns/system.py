"""State of the hub itself: whether it lives, whether it is ready, its status, and the table of roles."""

from typing import Final

from starlette.responses import Response

from hub.api.binding import Head
from hub.api.deps import Exposed
from hub.api.door.roles import ROLE_SCOPES, Role, Scope
from hub.api.door.routes import DEVICE_REQUESTS, PUBLIC, ROUTES, roles_that_may
from hub.api.facade import HubFacade
from hub.api.noun import Noun, route
from hub.api.view import Health, Readiness, StatusView, View

ANYBODY: Final = "public"  # instead of a scope; "agent": needs the token of an agent


class RouteView(View):
    """Route of the interface. *scope*: the scope that it needs; ``public``: no token is needed."""

    method: str
    path: str
    scope: str
    roles: tuple[Role, ...]


class DeviceRequestView(View):
    """Request that a device may send over its connection, and the objects that it applies to."""

    method: str
    of: str


class RoutesView(View):
    """The table of roles: all other routes and requests are refused to everybody."""

    roles: dict[Role, tuple[Scope, ...]]
    routes: tuple[RouteView, ...]
    device_requests: tuple[DeviceRequestView, ...]


class Exposition(Response):
    """Prometheus' text format."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"


class System(Noun):
    """State of the hub itself."""

    name, path = "system", ""

    def __init__(self, hub: HubFacade) -> None:
        self._hub = hub

    @route("GET", "/healthz", PUBLIC, also=[503], is_whole=True)
    async def health(self, head: Head) -> Health:
        """Answer 200 if the event loop turns. No I/O, no detail."""
        health = self._hub.health()
        head.status = 200 if health.status == "ok" else 503
        return health

    @route("GET", "/readyz", PUBLIC, also=[503], is_whole=True)
    async def readiness(self, head: Head) -> Readiness:
        """Answer 200 if the hub takes work, else 503, with the checks either way."""
        readiness = await self._hub.readiness()
        head.status = 200 if readiness.ready else 503
        return readiness

    @route("GET", "/metrics", Scope.READ, is_whole=True)
    async def metrics(self, exposed: Exposed) -> Exposition:
        """Return every metric of the process."""
        return Exposition(exposed)

    @route("GET", "/v1/routes", Scope.READ, is_whole=True)
    async def table(self) -> RoutesView:
        """Return the routes of this hub with the roles that may use them, and the requests of devices."""
        return routes_view()

    @route("GET", "/v1/status", Scope.READ)
    async def status(self) -> StatusView:
        """Return version, uptime, devices, runs, model and listeners."""
        return await self._hub.seen_by(self.user_id).status()


def routes_view() -> RoutesView:
    """Return the tables of ``api/door/routes``."""
    return RoutesView(
        roles={role: tuple(scope for scope in Scope if scope in ROLE_SCOPES[role]) for role in Role},
        routes=tuple(
            RouteView(
                method=asked.method,
                path=asked.path,
                scope=ANYBODY if need is PUBLIC else str(need.value),
                roles=roles_that_may(need),
            )
            for asked, need in ROUTES.items()
        ),
        device_requests=tuple(
            DeviceRequestView(method=method, of=of) for method, of in DEVICE_REQUESTS.items()
        ),
    )
