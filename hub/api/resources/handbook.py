"""Routes of the handbook as HTML pages, and of the OpenAPI document.

The pages are the handbook's Markdown as HTML, without scripts, under a strict policy, in the style sheet of
the dashboard. Each heading has an id as in the handbook's links, and so has each error code.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Annotated, Final

from anyio import CapacityLimiter, to_thread
from msgspec import Meta
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
from hub.docs.search import MAX_TEXT, id_of, search
from protocol.errors import CodedError, ErrorCode
from protocol.similar_names import did_you_mean


class DocumentPage(Response):
    """Markdown, or HTML for browsers. No browser runs either as a script."""

    media_type = "text/markdown"


class HandbookResource(Resource):
    """Pages for people, and the document for programs."""

    name, path, within = "handbook", "", BY_ALL
    is_scoped = False

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(1)  # work of threads of which many would stop the others

    @route("GET", "/docs", Scope.READ)
    async def all(
        self,
        call: RequestContext,
        q: Annotated[str, Meta(max_length=MAX_TEXT, description="Words to find in all pages.")] = "",
    ) -> DocumentPage:
        """List the pages of the handbook, or those with some words, as Markdown, or as HTML for a browser."""
        return await self._page(call, "", q.strip())

    @route("GET", "/docs/{topic}", Scope.READ, errors=[ErrorCode.UNKNOWN_METHOD])
    async def get(self, call: RequestContext, topic: str) -> DocumentPage:
        """Return a page of the handbook, as Markdown, or as HTML for a browser.

        The topic may end with ``.md``, as in links.
        """
        return await self._page(call, topic.removesuffix(".md"))

    @route("GET", "/v1/openapi.json", Scope.READ)
    async def document(self, document: Document) -> Response:
        """Return this interface as an OpenAPI 3.1 document."""
        return document

    async def _page(self, call: RequestContext, topic: str, query: str = "") -> DocumentPage:
        """Return a page; empty *topic*: the list of all, or of the sections with a *query*.

        Raises:
            CodedError: the handbook has no such page.
        """
        is_html = "text/html" in Headers(scope=call.scope).get("accept", "")
        written = _cached_html_of if not query else html_of
        try:
            text = await to_thread.run_sync(
                written if is_html else markdown_of, topic, query, limiter=self._limiter
            )
        except docs.UnknownTopic as unknown:
            raise CodedError(ErrorCode.UNKNOWN_METHOD, str(unknown), hint=unknown.hint) from unknown
        media_type, headers = ("text/html", HEADERS) if is_html else (None, {})
        return DocumentPage(text, media_type=media_type, headers={**headers, "vary": "accept"})


_COMMENT: Final = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)  # marks of generated parts


_ELSEWHERE: Final = re.compile(r'<a href="\.\./[^"]*">(.*?)</a>')  # files of the repository


_SIGN: Final = re.compile(r"[\\`*_<\[\]]")  # of Markdown
_ESCAPED: Final = r"\\\g<0>"


_CODE: Final = re.compile(r"<li><code>([a-z_]+)</code>")  # of an error


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="theme-color" media="(prefers-color-scheme: light)" content="#f7f8f9">
<meta name="theme-color" media="(prefers-color-scheme: dark)" content="#14181c">
<title>{title} · handbook of the hub</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body class="handbook">
<header>
<p><a href="/">hub</a> · <a href="/docs">handbook</a> · <a href="#pages">contents</a></p>
<form role="search" action="/docs">
<input type="search" name="q" maxlength="{most}" value="{query}" aria-label="Words to find" required>
<button>Find</button>
</form>
</header>
<main>
{page}{pager}</main>
<nav id="pages" aria-label="Pages of the handbook">
{topics}</nav>
</body>
</html>
"""


def markdown_of(topic: str, query: str = "") -> str:
    """Return a page; without *topic*, the sections with the words of *query*, or the list of all pages.

    Raises:
        UnknownTopic: the handbook has no such page.
    """
    if not query:
        return docs.page(topic) if topic else docs.contents("/docs/")
    lines = [
        f"- [{part.topic}: {part.heading}](/docs/{part.topic}.md#{id_of(part.heading)}): "
        + _SIGN.sub(_ESCAPED, excerpt)
        for part, excerpt in search(query)
    ]
    hint = did_you_mean(query, docs.TOPICS) or "The contents list all pages."
    return "\n".join(("# Found in the handbook", "", *(lines or [f"Nothing has these words. {hint}"]), ""))


def html_of(topic: str, query: str = "") -> str:
    """Return the same in HTML, with the search and the way on."""
    from markdown_it import MarkdownIt  # imported here: a start can do without

    text = markdown_of(topic, query)
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
        title=escape(topic or query or "contents"),
        icon=asset(".svg"),
        style=asset(".css"),
        most=MAX_TEXT,
        query=escape(query),
        pager=_pager(topic),
        topics="".join(_topics(topic)),
        page=page.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">'),
    )


_cached_html_of = lru_cache(maxsize=2 * len(docs.TOPICS))(html_of)  # of pages, with and without ``.md``


def _pager(topic: str) -> str:
    """Return links to the pages before and after a page; empty for what is no page."""
    topic = topic.removesuffix(".md")
    at = docs.TOPICS.index(topic) if topic in docs.TOPICS else len(docs.TOPICS)
    near = (("prev", "Before", docs.TOPICS[at - 1 : at]), ("next", "Next", docs.TOPICS[at + 1 : at + 2]))
    links = (
        f'<a rel="{rel}" href="/docs/{name}">{word}: {name}</a>'
        for rel, word, names in near
        for name in names
    )
    return (
        f'<nav class="pager" aria-label="Next pages">{"".join(links)}</nav>\n' if topic in docs.TOPICS else ""
    )


def _topics(current: str) -> Iterator[str]:
    for part, topics in docs.PARTS.items():
        yield f"<p>{escape(part)}</p>\n<ul>\n"
        for topic in topics:
            here = ' aria-current="page"' if topic == current else ""
            yield f'<li><a href="/docs/{topic}"{here}>{topic}</a></li>\n'
        yield "</ul>\n"
