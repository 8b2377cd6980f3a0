"""Lookup of a mailbox's folders: by Outlook's well-known names, by displayed names, or by id."""

from difflib import get_close_matches
from typing import Any, Final

from hub.connectors.failures import Misconfigured
from hub.connectors.graph import Graph, text_field

WELL_KNOWN: Final = frozenset(
    {
        "archive",
        "clutter",
        "conversationhistory",
        "deleteditems",
        "drafts",
        "inbox",
        "junkemail",
        "msgfolderroot",
        "outbox",
        "recoverableitemsdeletions",
        "sentitems",
    }
)
_ID_CHARS: Final = 80  # ids are longer than folder names
_MOST_PAGES: Final = 20  # of 100 folders each


async def find_folder(graph: Graph, name: str) -> str:
    """Return the id of a folder, or its well-known name.

    Args:
        name: a well-known name such as "inbox", a displayed path such as "Projects/Alpha", or an id.

    Raises:
        Misconfigured: the folder does not exist; the message lists the existing ones.
    """
    if name.lower() in WELL_KNOWN:
        return name.lower()
    if len(name) >= _ID_CHARS and " " not in name:
        return name
    parent: str | None = None
    for step in name.split("/"):
        there = await _children(graph, parent)
        found = next((id for shown, id in there if shown.casefold() == step.strip().casefold()), None)
        if found is None:
            raise _gone(name, [shown for shown, _ in there])
        parent = found
    assert parent is not None  # a name has at least one segment
    return parent


async def _children(graph: Graph, parent: str | None) -> list[tuple[str, str]]:
    """Return names and ids of the folders in *parent*, or of the top-level folders."""
    path = ("me", "mailFolders") if parent is None else ("me", "mailFolders", parent, "childFolders")
    url: str | None = graph.url(*path, query={"$select": "id,displayName", "$top": "100"})
    found: list[tuple[str, str]] = []
    for _ in range(_MOST_PAGES):
        if url is None:
            break
        page = await graph.page(url)
        found += [_named(item) for item in page.items]
        url = page.next
    return found


def _named(item: dict[str, Any]) -> tuple[str, str]:
    return text_field(item, "displayName"), str(item.get("id") or "")


def _gone(name: str, there: list[str]) -> Misconfigured:
    near = get_close_matches(name.rpartition("/")[2], there, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(there)[:20]) or 'none'}"
    return Misconfigured(f"there is no folder {name!r} in the mailbox: {hint}")
