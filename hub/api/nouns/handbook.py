"""The handbook, and the OpenAPI document of the interface."""

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response

from hub import docs
from hub.api.binding import Call
from hub.api.door.roles import Scope
from hub.api.noun import Noun, route
from hub.api.pages import HEADERS
from hub.api.parameters import Document
from protocol.errors import ErrorCode, HubError


class Page(Response):
    """Markdown, or HTML for browsers. No browser runs either as a script."""

    media_type = "text/markdown"


class UnknownPage(HubError):
    """A page that the handbook does not have."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, unknown: docs.UnknownTopic) -> None:
        super().__init__(str(unknown))
        self.hint = unknown.hint


class Handbook(Noun):
    """Pages for people, and the document for programs."""

    name, path = "handbook", ""
    is_scoped = False

    @route("GET", "/docs", Scope.READ)
    async def all(self, call: Call) -> Page:
        """List the pages of the handbook, as Markdown, or as HTML for a browser."""
        return await _page(call, "")

    @route("GET", "/docs/{topic}", Scope.READ, errors=[ErrorCode.UNKNOWN_METHOD])
    async def get(self, call: Call, topic: str) -> Page:
        """Return a page of the handbook, as Markdown, or as HTML for a browser.

        The topic may end with ``.md``, as in links.
        """
        return await _page(call, topic.removesuffix(".md"))

    @route("GET", "/v1/openapi.json", Scope.READ)
    async def document(self, document: Document) -> Response:
        """Return this interface as an OpenAPI 3.1 document."""
        return document


async def _page(call: Call, topic: str) -> Page:
    """Return a page; empty *topic*: the list of all. Raises UnknownPage."""
    try:
        if "text/html" not in Headers(scope=call.scope).get("accept", ""):
            return Page(docs.page(topic) if topic else docs.contents("/docs/"), headers={"vary": "accept"})
        from hub.api.handbook_html import html_of  # imported here: a hub without readers does without it

        text = await to_thread.run_sync(html_of, topic)
        return Page(text, media_type="text/html", headers={**HEADERS, "vary": "accept"})
    except docs.UnknownTopic as unknown:
        raise UnknownPage(unknown) from unknown
