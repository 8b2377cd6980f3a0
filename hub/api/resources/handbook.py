"""Routes of the handbook as HTML pages, and of the OpenAPI document.

The pages are the handbook's Markdown as HTML, without scripts, under a strict policy, in the style sheet of
the dashboard. Each heading has an id as in the handbook's links, and so has each error code.
"""

import re
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import pairwise
from typing import Final

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response

from hub import docs
from hub.api.binding import RequestContext
from hub.api.resource import (
    Document,
    Resource,
    route,
)
from hub.base.roles import (
    BY_ALL,
    Scope,
)
from hub.base.web.pages import HEADERS, asset
from protocol.errors import CodedError, ErrorCode


class DocumentPage(Response):
    """Markdown, or HTML for browsers. No browser runs either as a script."""

    media_type = "text/markdown"


class HandbookResource(Resource):
    """Pages for people, and the document for programs."""

    name, path, within = "handbook", "", BY_ALL
    is_scoped = False

    @route("GET", "/docs", Scope.READ)
    async def all(self, call: RequestContext) -> DocumentPage:
        """List the pages of the handbook, as Markdown, or as HTML for a browser."""
        return await _page(call, "")

    @route("GET", "/docs/{topic}", Scope.READ, errors=[ErrorCode.UNKNOWN_METHOD])
    async def get(self, call: RequestContext, topic: str) -> DocumentPage:
        """Return a page of the handbook, as Markdown, or as HTML for a browser.

        The topic may end with ``.md``, as in links.
        """
        return await _page(call, topic.removesuffix(".md"))

    @route("GET", "/v1/openapi.json", Scope.READ)
    async def document(self, document: Document) -> Response:
        """Return this interface as an OpenAPI 3.1 document."""
        return document


async def _page(call: RequestContext, topic: str) -> DocumentPage:
    """Return a page; empty *topic*: the list of all. Raises CodedError."""
    try:
        if "text/html" not in Headers(scope=call.scope).get("accept", ""):
            return DocumentPage(
                docs.page(topic) if topic else docs.contents("/docs/"), headers={"vary": "accept"}
            )

        text = await to_thread.run_sync(html_of, topic)
        return DocumentPage(text, media_type="text/html", headers={**HEADERS, "vary": "accept"})
    except docs.UnknownTopic as unknown:
        raise CodedError(ErrorCode.UNKNOWN_METHOD, str(unknown), hint=unknown.hint) from unknown


_COMMENT: Final = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)  # marks of generated parts


_ELSEWHERE: Final = re.compile(r'<a href="\.\./[^"]*">(.*?)</a>')  # files of the repository


_CODE: Final = re.compile(r"<li><code>([a-z_]+)</code>")  # of an error


_NO_ID: Final = re.compile(r"[^\w\- ]")


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · handbook of the hub</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body class="handbook">
<nav aria-label="Pages of the handbook">
<p><a href="/">hub</a> · <a href="/docs">handbook</a></p>
{topics}</nav>
<main>
{page}</main>
</body>
</html>
"""


@cache
def html_of(topic: str) -> str:
    """Return a page of the handbook, or the list of all pages if *topic* is empty. Raises UnknownTopic."""
    from markdown_it import MarkdownIt  # imported here: a start can do without

    text = docs.page(topic) if topic else docs.contents("/docs/")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(_COMMENT.sub("", text))
    for token, inner in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", id_of("".join(part.content for part in inner.children or ())))
    for token in tokens:
        if token.type in ("th_open", "td_open") and token.attrs.pop("style", "") == "text-align:right":
            token.attrSet("class", "number")
    page = parser.renderer.render(tokens, parser.options, {})
    page = _ELSEWHERE.sub(r"<em>\1</em>", page)
    if topic.removesuffix(".md") == "errors":
        page = _CODE.sub(r'<li id="\1"><code>\1</code>', page)
    page = page.replace("<table>", '<div class="table-room" tabindex="0"><table>')
    return _PAGE.format(
        title=escape(topic or "contents"),
        icon=asset(".svg"),
        style=asset(".css"),
        topics="".join(_topics(topic)),
        page=page.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">'),
    )


def id_of(heading: str) -> str:
    """Return the id of a heading, as links of the handbook name it."""
    return _NO_ID.sub("", heading.lower()).strip().replace(" ", "-")


def _topics(current: str) -> Iterator[str]:
    for part, topics in docs.PARTS.items():
        yield f"<p>{escape(part)}</p>\n<ul>\n"
        for topic in topics:
            here = ' aria-current="page"' if topic == current else ""
            yield f'<li><a href="/docs/{topic}"{here}>{topic}</a></li>\n'
        yield "</ul>\n"
