"""XML of WebDAV (RFC 4918) and CalDAV (RFC 4791): requests, and answers, parsed without entities."""

from collections.abc import Sequence
from html import escape
from typing import Final
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, TreeBuilder  # used to build elements; the parser is below
from xml.parsers import expat  # document types are refused, and thus all entities

import msgspec

DAV: Final = "{DAV:}"
CAL: Final = "{urn:ietf:params:xml:ns:caldav}"
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 500_000
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
_NAMES: Final = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"'


class NotWebDav(ValueError):
    """Answer that is truncated, not XML, not allowed, or no answer of WebDAV."""


class WebDavResource(msgspec.Struct, frozen=True):
    """Element ``response`` of a multistatus.

    Attributes:
        status: status of the whole resource, or None.
        found: existing properties.
    """

    href: str
    status: int | None
    found: dict[str, Element]  # by name

    def text(self, name: str) -> str:
        """Return the text of a property, or an empty string."""
        element = self.found.get(name)
        return "" if element is None else (element.text or "").strip()

    def hrefs(self, name: str) -> list[str]:
        """Return the URLs in a property."""
        element = self.found.get(name)
        elements = [] if element is None else element.findall(f"{DAV}href")
        return [element.text.strip() for element in elements if element.text]

    def has(self, name: str, inner: str) -> bool:
        """Return True if the property *name* contains an element *inner*."""
        element = self.found.get(name)
        return element is not None and element.find(inner) is not None


class Multistatus(msgspec.Struct, frozen=True):
    """Answer with status 207. *sync_token*: of a sync-collection report."""

    resources: list[WebDavResource]
    sync_token: str


def read(body: bytes) -> Element:
    """Parse a document and return its root.

    Raises:
        NotWebDav: the document is truncated or not XML, has a document type, or is nested too deep.
    """
    builder = TreeBuilder()
    depth = elements = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise NotWebDav("the server's answer is nested too deep, or too long")
        builder.start(_spelled(name), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_spelled(name))

    def refuse(*_: object) -> None:
        raise NotWebDav("the server's answer defines a document type, which is not allowed")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # expat does not know the encoding
        raise NotWebDav("the server's answer is cut off, or no XML") from error
    return builder.close()


def joined(base: str, href: str) -> str:
    """Resolve *href* of an answer relative to *base*.

    Raises:
        NotWebDav: it is not a URL.
    """
    try:
        return urljoin(base, href)
    except ValueError as error:
        raise NotWebDav("the server points to something that is no address") from error


def multistatus(body: bytes) -> Multistatus:
    """Return the resources of an answer with status 207.

    Raises:
        NotWebDav: it is not a multistatus.
    """
    root = read(body)
    if root.tag != f"{DAV}multistatus":
        raise NotWebDav("the server's answer is no multistatus")
    token = root.findtext(f"{DAV}sync-token") or ""
    return Multistatus([_resource(response) for response in root.findall(f"{DAV}response")], token.strip())


def is_token_refused(body: bytes) -> bool:
    """Return True if an error says that the sync token is unknown (RFC 6578, 3.2)."""
    try:
        return read(body).find(f".//{DAV}valid-sync-token") is not None
    except NotWebDav:
        return False


def propfind(*names: str) -> bytes:
    """Create a request for properties, named like ``d:getetag``."""
    asked = "".join(f"<{name}/>" for name in names)
    return f"{_HEAD}<d:propfind {_NAMES}><d:prop>{asked}</d:prop></d:propfind>".encode()


def sync_collection(token: str) -> bytes:
    """Create a request for the changes since *token*."""
    asked = f"<d:sync-token>{escape(token)}</d:sync-token><d:sync-level>1</d:sync-level>"
    prop = "<d:prop><d:getetag/></d:prop>"
    return f"{_HEAD}<d:sync-collection {_NAMES}>{asked}{prop}</d:sync-collection>".encode()


def query(kind: str, start: str | None = None, end: str | None = None) -> bytes:
    """Create a request for the objects of a *kind*; for events, those between two instants."""
    span = "" if start is None else f'<c:time-range start="{start}" end="{end}"/>'
    inner = (
        f'<c:comp-filter name="VCALENDAR"><c:comp-filter name="{kind}">{span}</c:comp-filter></c:comp-filter>'
    )
    prop = "<d:prop><d:getetag/></d:prop>"
    return f"{_HEAD}<c:calendar-query {_NAMES}>{prop}<c:filter>{inner}</c:filter></c:calendar-query>".encode()


def multiget(hrefs: Sequence[str]) -> bytes:
    """Create a request for several objects."""
    prop = "<d:prop><d:getetag/><c:calendar-data/></d:prop>"
    asked = "".join(f"<d:href>{escape(href)}</d:href>" for href in hrefs)
    return f"{_HEAD}<c:calendar-multiget {_NAMES}>{prop}{asked}</c:calendar-multiget>".encode()


def _resource(response: Element) -> WebDavResource:
    found: dict[str, Element] = {}
    for part in response.findall(f"{DAV}propstat"):
        if _status(part) in (None, 200):
            for prop in part.findall(f"{DAV}prop"):
                found |= {element.tag: element for element in prop}
    return WebDavResource((response.findtext(f"{DAV}href") or "").strip(), _status(response), found)


def _status(element: Element) -> int | None:
    """Return the number in ``HTTP/1.1 404 Not Found``."""
    words = (element.findtext(f"{DAV}status") or "").split()
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() and len(words[1]) == 3 else None


def _spelled(name: str) -> str:
    return f"{{{name}" if "}" in name else name
