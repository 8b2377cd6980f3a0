"""The operator's REST interface as one application: a router a noun, problems for errors.

OpenAPI stands at ``/v1/openapi.json`` and nowhere else: the usual pages around it
load scripts from other origins.
"""

from functools import cache
from typing import Final

from fastapi import Depends, FastAPI, Request, Response

from hub.ops.access import ROUTE
from hub.ops.api import (
    agent_configs,
    agent_tokens,
    agent_writing,
    agents,
    audit,
    boards,
    capabilities,
    checkpoints,
    config,
    connectors,
    costs,
    debug,
    devices,
    events,
    gateways,
    issues,
    items,
    keys,
    leads,
    locks,
    logs,
    measurements,
    messages,
    overviews,
    pairings,
    questions,
    runs,
    schedules,
    slots,
    souls,
    standings,
    system,
    templates,
    tokens,
    upkeep,
    users,
)
from hub.ops.api.deps import Metrics
from hub.ops.api.document import serve_document
from hub.ops.api.errors import answer_errors
from hub.ops.routes import Asked
from hub.version import VERSION
from protocol.errors import ErrorCode, HubError

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
NOUNS: Final = (
    system,
    devices,
    pairings,
    users,
    agents,
    overviews,
    agent_writing,
    templates,
    agent_configs,
    standings,
    capabilities,
    checkpoints,
    schedules,
    slots,
    runs,
    items,
    locks,
    gateways,
    boards,
    keys,
    leads,
    questions,
    souls,
    connectors,
    costs,
    measurements,
    messages,
    events,
    tokens,
    agent_tokens,
    audit,
    issues,
    logs,
    debug,
    upkeep,
    config,
)


_NO_ROUTE: Final = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}


class NotInTheTable(HubError):
    """The route has no row in ``ops/routes``, so nobody may ask for it."""

    code = ErrorCode.FORBIDDEN


@cache
def application() -> FastAPI:
    """Return the application of this process. Its first call builds it: about 0.3 s of CPU time."""
    return make_application()


def make_application() -> FastAPI:
    """Build the application with all its routes. It decides nothing about who asks: that is ``ops/access``.

    It belongs to no hub: what a request is answered from is in the state of the request, see ``deps``.
    """
    app = FastAPI(
        title="hub",
        version=VERSION,
        openapi_url=None,
        dependencies=[Depends(_stands_in_the_table)],
        redirect_slashes=False,
    )
    app.openapi_version = "3.1.0"
    answer_errors(app)
    for noun in NOUNS:
        app.include_router(noun.router)

    @app.get("/metrics", tags=["system"], response_class=Exposition)
    async def exposition(metrics: Metrics) -> Response:
        """Every metric of the process."""
        return Exposition(metrics())

    @app.get("/v1/openapi.json", tags=["system"], response_model=dict[str, object])
    def document(request: Request) -> Response:  # in a thread: building the document takes a second
        """This interface as an OpenAPI 3.1 document."""
        return serve_document(app, request.headers)

    for route in app.routes:
        route.matches(_NO_ROUTE)  # the framework builds the routes of a router when it first looks for one
    return app


class Exposition(Response):
    """Prometheus' text format."""

    media_type = EXPOSITION


def _stands_in_the_table(request: Request) -> None:
    """Raises NotInTheTable: the application found another route than the table, or one that it lacks."""
    asked: Asked | None = request.scope["state"].get(ROUTE)
    if asked is None or asked.path != request.scope["route"].path:
        raise NotInTheTable(f"{request.method} {request.url.path} is not in the table of routes")
