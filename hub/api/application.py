"""The operator's REST interface as one application: a router a noun, problems for errors.

OpenAPI stands at ``/v1/openapi.json`` and nowhere else: the usual pages around it
load scripts from other origins.
"""

from functools import cache
from typing import Final

from fastapi import Depends, FastAPI, Request, Response

from hub.api.deps import Metrics, stands_in_the_table
from hub.api.document import serve_document
from hub.api.errors import answer_errors
from hub.api.noun import Noun
from hub.api.nouns import (
    agent_configs,
    agent_tokens,
    agent_writing,
    agents,
    audit,
    capabilities,
    checkpoints,
    config,
    connectors,
    costs,
    debug,
    devices,
    events,
    issues,
    items,
    keys,
    logs,
    measurements,
    overviews,
    pairings,
    runs,
    schedules,
    slots,
    standings,
    system,
    templates,
    tokens,
    upkeep,
)
from hub.api.nouns.board_memory import BoardMemories
from hub.api.nouns.boards import Boards
from hub.api.nouns.broadcasts import Broadcasts
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.leads import Leads
from hub.api.nouns.locks import Locks
from hub.api.nouns.messages import Messages
from hub.api.nouns.questions import Questions
from hub.api.nouns.souls import Souls
from hub.api.nouns.users import Users
from hub.api.routing import router_of
from hub.version import VERSION

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
NOUNS: Final = (
    system,
    devices,
    pairings,
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
    keys,
    connectors,
    costs,
    measurements,
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

DECLARED: Final[tuple[type[Noun], ...]] = (
    BoardMemories,
    Boards,
    Broadcasts,
    Gateways,
    Leads,
    Locks,
    Messages,
    Questions,
    Souls,
    Users,
)
# Built at import: the table of routes is complete before the first request is checked against it.
ROUTERS: Final = tuple(map(router_of, DECLARED))


@cache
def application() -> FastAPI:
    """Return the application of this process. Its routes were built as their modules were imported."""
    return make_application()


def make_application() -> FastAPI:
    """Build the application with all its routes. It decides nothing about who asks: see ``api/door/access``.

    It belongs to no hub: what a request is answered from is in the state of the request, see ``deps``.
    """
    app = FastAPI(
        title="hub",
        version=VERSION,
        openapi_url=None,
        dependencies=[Depends(stands_in_the_table)],
        redirect_slashes=False,
    )
    app.openapi_version = "3.1.0"
    answer_errors(app)
    for noun in NOUNS:
        app.router.routes += noun.router.routes
    for router in ROUTERS:
        app.router.routes += router.routes

    @app.get("/metrics", tags=["system"], response_class=Exposition)
    async def exposition(metrics: Metrics) -> Response:
        """Every metric of the process."""
        return Exposition(metrics())

    @app.get("/v1/openapi.json", tags=["system"], response_model=dict[str, object])
    def document(request: Request) -> Response:  # in a thread: building the document takes a second
        """This interface as an OpenAPI 3.1 document."""
        return serve_document(app, request.headers)

    return app


class Exposition(Response):
    """Prometheus' text format."""

    media_type = EXPOSITION
