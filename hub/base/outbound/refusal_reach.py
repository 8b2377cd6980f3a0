"""Reach of a server's refusal: whether a status concerns one entry or the whole calendar or list.

A request concerns one row, message or object of a place: a calendar, a list, a mailbox. Its refusal says
nothing about the others unless its scope does. The statuses are those of RFC 9110, RFC 4918 and RFC 6585;
the preconditions are the elements in the body of an error of WebDAV and CalDAV (RFC 3744, 4791 and 6638).
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

MAX_REFUSALS: Final = 5  # in a row, after which a place refuses all of its rows
DELETED_STATUSES: Final = (404, 410)  # statuses of an object that does not exist: one to remove is removed


class RefusalScope(StrEnum):
    """Part of a place that a refusal concerns.

    ``PLACE`` is decided by evidence: it is of the row where the place accepts others.
    """

    ROW = "row"
    PLACE = "place"
    ACCOUNT = "account"
    MOMENT = "moment"


SCOPE_MEANINGS: Final[Mapping[RefusalScope, str]] = {
    RefusalScope.ROW: "this row alone; the next rows follow, and it waits with growing intervals",
    RefusalScope.PLACE: "the row where the place accepts others, else the place",
    RefusalScope.ACCOUNT: "all rows until the user, the password or the payment is corrected",
    RefusalScope.MOMENT: (
        "all rows for now; of the row alone where it is answered so again and others are accepted"
    ),
}

_ROW_STATUSES: Final = (400, 404, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 422, 423, 424, 428)
SCOPES: Final[Mapping[int, RefusalScope]] = (
    dict.fromkeys((*_ROW_STATUSES, 431, 451), RefusalScope.ROW)
    | dict.fromkeys((401, 402, 407), RefusalScope.ACCOUNT)
    | dict.fromkeys((408, 425, 429, 502, 503, 504, 509), RefusalScope.MOMENT)
    | dict.fromkeys((403, 405, 421, 426, 500, 501, 505, 506, 507, 508, 510, 511), RefusalScope.PLACE)
)
PRECONDITIONS: Final[Mapping[str, RefusalScope]] = dict.fromkeys(
    (
        "valid-calendar-data",
        "valid-calendar-object-resource",
        "supported-calendar-data",
        "supported-calendar-component",
        "no-uid-conflict",
        "max-resource-size",
        "min-date-time",
        "max-date-time",
        "max-instances",
        "max-attendees-per-instance",
        "unique-scheduling-object-resource",
        "same-organizer-in-all-components",
        "allowed-organizer-scheduling-object-change",
        "lock-token-submitted",
    ),
    RefusalScope.ROW,
) | dict.fromkeys(
    ("need-privileges", "calendar-collection-location-ok", "quota-not-exceeded", "sufficient-disk-space"),
    RefusalScope.PLACE,
)
_PRECONDITION: Final = re.compile(rf"<(?:[\w.-]+:)?({'|'.join(PRECONDITIONS)})\b".encode())


def scope_of_status(status: int) -> RefusalScope:
    """Return the scope of a refusal by its HTTP status; that of an unknown one by its class."""
    if (known := SCOPES.get(status)) is not None:
        return known
    return (
        RefusalScope.ROW
        if 400 <= status < 500
        else RefusalScope.PLACE
        if status >= 500
        else RefusalScope.MOMENT
    )


def precondition_in(body: bytes) -> str:
    """Return the precondition that an error of WebDAV names in its first 4,000 bytes, or an empty text."""
    found = _PRECONDITION.search(body[:4_000])
    return found[1].decode() if found else ""
