"""Generation of ``hub/docs/scopes.md``: how far each refusal reaches, by provider and by kind of request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from hub.base.outbound.refusal_reach import (
    DELETED_STATUSES,
    MAX_REFUSALS,
    PRECONDITIONS,
    SCOPE_MEANINGS,
    SCOPES,
    RefusalScope,
    scope_of_status,
)
from hub.connectors.blocking_imap_transport import ImapRefused
from hub.connectors.calling import ConnectorFailure, HttpReply, general
from hub.connectors.catalogue import BUILT_IN, find, shipped
from hub.connectors.connector import Connector
from hub.connectors.imap_connection import failure_of
from tests.support.references import NOTE

WITHOUT_SERVER: Final = {
    "imap": "the codes below",
    "maildir": "row of a file that cannot be read; else folder",
    "webhook": "asks no server: what was posted is in its inbox",
}
IMAP_CODES: Final = (
    "",
    "SERVERBUG",
    "CORRUPTION",
    "INUSE",
    "UNAVAILABLE",
    "LIMIT",
    "OVERQUOTA",
    "NOPERM",
    "CONTACTADMIN",
    "AUTHORIZATIONFAILED",
    "AUTHENTICATIONFAILED",
    "EXPIRED",
    "NONEXISTENT",
    "PRIVACYREQUIRED",
)
HEAD: Final = """\
# Scopes

How far a refusal reaches: one item or message, its folder or list, the account, or a moment.

{note}

A refusal of one item, message or object is no error of all. What is refused waits alone, is named with its
reason and is tried again; the others arrive. Where a status leaves open whose fault it is, what the server
does with the others decides: after {most} refusals in a row without an accepted one it is of the place,
or of the folder, list or calendar that a message is read from.

| scope | what it stops |
|---|---|
{meanings}
| folder | the message where its folder, list or calendar accepts others, else all of them |

An item at a place is tried again after 30 seconds, then after twice as long each time, at most six hours
(`hub places`). A message is tried again by the next runs; where others were accepted, the third failure
sets it aside, or the tenth that is of the moment (`hub runs show`). The cursor does not pass a message before
it is settled.
"""


def connector_class(provider: str) -> type[Connector]:
    """Return the class of a provider; that of manifests is the same for all of them."""
    return find(shipped()[0] if provider == "manifest" else provider)


def scope_at(provider: str, status: int) -> RefusalScope:
    """Return the scope of a status that a provider answers to the request for one message."""
    answer = HttpReply(status, {}, b"")
    failure: ConnectorFailure = connector_class(provider).judge(answer) or general(answer)
    return failure.scope


def of_message(scope: RefusalScope) -> str:
    """Return the name of a scope of a message: "place" is where approved items go."""
    return "folder" if scope is RefusalScope.PLACE else str(scope)


def at_sinks() -> dict[int, tuple[str, ...]]:
    """Return by status the scopes at a sink: of a new item, of a change, and of a removal."""
    found: dict[int, tuple[str, ...]] = {}
    for status in sorted(SCOPES):
        scope = str(scope_of_status(status))
        changed = "read again and merged, then row"
        removal = "done" if status in DELETED_STATUSES else changed if status == 412 else scope
        write = changed if status == 412 else "place (CalDAV), row (REST)" if status == 404 else scope
        found[status] = (write, write, removal)
    return found


def table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())


def at_providers() -> dict[str, list[str]]:
    """Return by status the scope at each provider that is asked by HTTP."""
    providers = [name for name in BUILT_IN if name not in WITHOUT_SERVER]
    return {
        f"{status}": [of_message(scope_at(name, status)) for name in providers] for status in sorted(SCOPES)
    }


def page() -> str:
    """Return the whole page."""
    meanings = "\n".join(f"| {scope} | {meaning} |" for scope, meaning in SCOPE_MEANINGS.items())
    providers = [name for name in BUILT_IN if name not in WITHOUT_SERVER]
    refused = {code or "none": failure_of(ImapRefused("NO", code, ""), "") for code in IMAP_CODES}
    codes = {code: [of_message(failure.scope)] for code, failure in refused.items()}
    sinks = {f"{status}": cells for status, cells in at_sinks().items()}
    lines = [
        HEAD.format(note=NOTE, most=MAX_REFUSALS, meanings=meanings),
        "## Places of approved items",
        "",
        "By the status that a CalDAV or REST server answers. No answer in time is of the moment.",
        "",
        *table(("status", "new item", "changed item", "removal"), sinks),
        "",
        "By the precondition that an error of a CalDAV server names, whatever its status is:",
        "",
        *table(("precondition", "scope"), {f"`{name}`": [scope] for name, scope in PRECONDITIONS.items()}),
        "",
        "## Connectors",
        "",
        "By the status of the request for one message. A message that was removed meanwhile is no failure.",
        "",
        *table(("status", *providers), at_providers()),
        "",
        *table(("provider", "scopes"), {name: [words] for name, words in WITHOUT_SERVER.items()}),
        "",
        "By the code of an IMAP server that refuses to show messages, if it shows no other:",
        "",
        *table(("code", "scope"), codes),
    ]
    return "\n".join(lines) + "\n"
