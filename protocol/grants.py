"""Permissions that a device's owner may grant a hub besides writing suggestions; off by default."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from protocol.work import Action, ToolCall


class OwnerGrant(StrEnum):
    """Permission of a device's owner for a hub."""

    REVIEW_REMOTE = "review.remote"  # to send verdicts that the owner gave elsewhere
    ROWS_READ = "rows.read"  # to query approved rows of the listed tables


def refused_by_owner(call: ToolCall, granted: Mapping[str, Collection[str]]) -> str | None:
    """Return why the owner's grants do not allow *call*, or None if they do.

    Args:
        granted: tables of each grant, by the grant's name; ``review.remote`` has none.
    """
    if call.action is Action.REVIEW_SET and OwnerGrant.REVIEW_REMOTE not in granted:
        return f"the owner of this device does not grant {OwnerGrant.REVIEW_REMOTE.value!r}"
    is_of_approved = call.action is Action.QUERY and call.data.get("approved") is True
    if is_of_approved and call.table not in granted.get(OwnerGrant.ROWS_READ, ()):
        return f"the owner of this device does not grant {OwnerGrant.ROWS_READ.value!r} of {call.table}"
    return None
