"""Attachments of a mail in Outlook: always listed, fetched only if the filter asks for them."""

from collections.abc import Mapping
from typing import Any, Final

from hub.connectors.graph import Graph, text_field
from hub.text.files import MAIL
from hub.text.letter import Enclosure, LetterOptions

_MOST: Final = 20  # fetched of one mail
_MAIL_INSIDE: Final = "#microsoft.graph.itemAttachment"
_FILE: Final = "#microsoft.graph.fileAttachment"


async def attachments_of(graph: Graph, id: str, wanted: LetterOptions) -> tuple[Enclosure, ...]:
    """Return the attachments of the message *id*.

    Raises:
        ConnectorFailure: the request failed.
    """
    query = {"$select": "id,name,contentType,size,isInline"}
    page = await graph.page(graph.url("me", "messages", id, "attachments", query=query))
    found = []
    fetched = 0
    for item in page.items:
        size = item.get("size")
        kind = MAIL if item.get("@odata.type") == _MAIL_INSIDE else text_field(item, "contentType")
        enclosure = Enclosure(
            name=text_field(item, "name"),
            media_type=kind or "application/octet-stream",
            size_bytes=size if isinstance(size, int) else None,
            is_inline=item.get("isInline") is True,
        )
        found.append(enclosure)
        if not _is_wanted(item, enclosure, wanted):
            continue
        fetched += 1
        if fetched > _MOST:
            found[-1] = _with(enclosure, why_not=f"the mail has more than {_MOST}")
            continue
        at = graph.url("me", "messages", id, "attachments", str(item.get("id")), "$value")
        answer = await graph.ask(at, accept=(200, 404), wants_json=False)
        is_there = answer.status == 200
        found[-1] = (
            _with(enclosure, content=answer.body)
            if is_there
            else _with(enclosure, why_not="it was removed meanwhile")
        )
    return tuple(found)


def _is_wanted(item: Mapping[str, Any], one: Enclosure, wanted: LetterOptions) -> bool:
    """Return True if an attachment is to be fetched; links to files elsewhere are never followed."""
    if one.is_inline or item.get("@odata.type", _FILE) not in (_FILE, _MAIL_INSIDE):
        return False
    return wanted.wants(one.media_type, one.size_bytes, name=one.name)


def _with(one: Enclosure, *, content: bytes | None = None, why_not: str = "") -> Enclosure:
    return Enclosure(
        name=one.name,
        media_type=one.media_type,
        size_bytes=one.size_bytes,
        content=content,
        why_not=why_not,
    )
