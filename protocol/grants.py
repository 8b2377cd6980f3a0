"""What the owner of a device allows a hub besides writing suggestions: two grants, off until given."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from protocol.work import Action, ToolCall


class OwnerGrant(StrEnum):
    """What a device's owner may allow a hub."""

    REVIEW_REMOTE = "review.remote"  # to bring verdicts that the owner gave elsewhere
    ROWS_READ = "rows.read"  # to query approved rows of the tables that it names


def refused_by_owner(call: ToolCall, granted: Mapping[str, Collection[str]]) -> str | None:
    """Return why *call* is not granted, or None.

    Args:
        granted: the tables of each grant, by its name; of ``review.remote`` there are none.
    """
    if call.action is Action.REVIEW_SET and OwnerGrant.REVIEW_REMOTE not in granted:
        return f"the owner of this device does not grant {OwnerGrant.REVIEW_REMOTE.value!r}"
    is_of_approved = call.action is Action.QUERY and call.data.get("approved") is True
    if is_of_approved and call.table not in granted.get(OwnerGrant.ROWS_READ, ()):
        return f"the owner of this device does not grant {OwnerGrant.ROWS_READ.value!r} of {call.table}"
    return None
