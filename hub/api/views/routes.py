"""The table of routes, as it is told: what may be asked, and by which roles."""

from hub.api.door.roles import ROLE_SCOPES, Role, Scope
from hub.api.door.routes import DEVICE_REQUESTS, PUBLIC, ROUTES, roles_that_may
from hub.api.views.view import View

ANYBODY = "public"  # instead of a scope; "agent": it is asked with an agent's token


class RouteView(View):
    """One route. *scope* is what it needs; ``public``: nothing, not even a token."""

    method: str
    path: str
    scope: str
    roles: tuple[Role, ...]


class DeviceRequestView(View):
    """One request that a device may make over its connection, and of what."""

    method: str
    of: str


class RoutesView(View):
    """All that may be asked of a hub; what is not in here is refused, whoever asks."""

    roles: dict[Role, tuple[Scope, ...]]
    routes: tuple[RouteView, ...]
    device_requests: tuple[DeviceRequestView, ...]


def routes_view() -> RoutesView:
    """The tables of ``api/door/routes``."""
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
