"""Parsing of RSS and Atom feeds into entries. Pure functions.

A feed is parsed without document types, and thus without entities.
"""

from typing import Any, Final
from xml.etree.ElementTree import Element, tostring  # used on elements of the parser below

from hub.connectors.calling import Unavailable
from hub.text import webdav
from hub.text.html import text_of_html

MAX_HTML_CHARS: Final = 1024 * 1024  # of one entry
_SPACES: Final = {  # namespaces whose elements are read, by the prefix that feeds write
    "http://purl.org/rss/1.0/modules/content/": "content:",
    "http://purl.org/dc/elements/1.1/": "dc:",
}


def plain(html: str) -> tuple[str, int]:
    """Return the visible text of *html*, and the number of hidden parts. Raises TooTangled."""
    if "<" not in html and "&" not in html:
        return html.strip(), 0
    page = text_of_html(html[:MAX_HTML_CHARS])
    return page.text, page.dropped


def feed_entries(body: bytes) -> list[dict[str, Any]]:
    """Return the entries of an RSS (0.9 to 2.0) or Atom feed; their texts are HTML.

    Raises:
        Unavailable: the answer is truncated, or no feed.
    """
    try:
        root = webdav.read(body)
    except webdav.NotWebDav as error:
        raise Unavailable(f"the answer is no feed: {error}") from error
    if _local(root) not in ("rss", "RDF", "feed"):
        raise Unavailable(f"the answer is no feed: its first element is <{_local(root)[:40]}>")
    return [_entry(element) for element in root.iter() if _local(element) in ("item", "entry")]


def _entry(item: Element) -> dict[str, Any]:
    parts: dict[str, list[Element]] = {}
    own = item.tag.rpartition("}")[0]
    for part in item:
        space = part.tag.rpartition("}")[0]
        prefix = "" if space == own else _SPACES.get(space.removeprefix("{"))
        if prefix is not None:
            parts.setdefault(prefix + _local(part), []).append(part)

    def first(*names: str) -> str:
        return next(
            (text for name in names for element in parts.get(name, ()) if (text := _html(element))), ""
        )

    links = parts.get("link", [])
    hrefs = [link.get("href") for link in links if link.get("rel", "alternate") == "alternate"]
    authors = [name for element in parts.get("author", ()) if (name := _author(element))]
    return {
        "id": first("id", "guid"),
        "title": first("title"),
        "text": first("content:encoded", "content", "description", "summary"),
        "author": next(iter(authors), first("dc:creator")),
        "created": first("published", "pubDate", "dc:date"),
        "modified": first("updated"),
        "link": next((href for href in hrefs if href), first("link")),
        "labels": [element.get("term") or _html(element) for element in parts.get("category", ())],
    }


def _author(element: Element) -> str:
    """Return the name of an author: Atom has it in an element, RSS after the address."""
    name = next(((child.text or "").strip() for child in element if _local(child) == "name"), "")
    return name or (element.text or "").strip()


def _html(element: Element) -> str:
    """Return the content of an element as HTML; XHTML is an element inside, and plain text is escaped."""
    if len(element):
        for child in element.iter():
            child.tag = _local(child)
        return "".join(tostring(child, encoding="unicode", method="html") for child in element)
    text = (element.text or "").strip()
    return text.replace("&", "&amp;").replace("<", "&lt;") if element.get("type") == "text" else text


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
