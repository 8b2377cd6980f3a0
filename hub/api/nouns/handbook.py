"""The handbook, and the OpenAPI document of the interface."""

from starlette.responses import Response

from hub import docs
from hub.api.door.roles import Scope
from hub.api.noun import Noun, route
from hub.api.parameters import Document
from protocol.errors import ErrorCode, HubError


class Page(Response):
    """Markdown, which no browser runs as a script."""

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
    async def all(self) -> Page:
        """List the pages of the handbook, as Markdown."""
        return Page(docs.contents("/docs/"))

    @route("GET", "/docs/{topic}", Scope.READ, errors=[ErrorCode.UNKNOWN_METHOD])
    async def get(self, topic: str) -> Page:
        """Return a page of the handbook, as Markdown. The topic may end with ``.md``, as in links."""
        try:
            return Page(docs.page(topic.removesuffix(".md")))
        except docs.UnknownTopic as unknown:
            raise UnknownPage(unknown) from unknown

    @route("GET", "/v1/openapi.json", Scope.READ)
    async def document(self, document: Document) -> Response:
        """Return this interface as an OpenAPI 3.1 document."""
        return document
