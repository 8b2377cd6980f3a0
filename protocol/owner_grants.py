"""Permissions that a device's owner may grant a hub besides writing suggestions; off by default."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from protocol.agenda import AGENDA
from protocol.calls import root_in
from protocol.tool_calls import Action, ToolCall


class OwnerGrant(StrEnum):
    """Permission of a device's owner for a hub."""

    REVIEW_REMOTE = "review.remote"  # to send verdicts that the owner gave elsewhere
    ROWS_READ = "rows.read"  # to query approved rows of the listed tables
    FILES_READ = "files.read"  # to let programs read files of the listed shared folders
    PLACES = "places"  # to list, test, add, change and remove the places of approved rows


MARKED: Final = "marked"  # named with ``review.remote``: also to approve and edit items that have a mark
APPROVED: Final = "approved"  # named with ``review.remote``: also to edit rows that the owner has approved
# Python 3.11 takes 0.3 us to look up a member of an enum, and every call to a device is compared with these.
_REVIEW_APPLY, _QUERY = Action.REVIEW_APPLY, Action.QUERY
_AGENDA, _PLACES = Action.ROWS_AGENDA, Action.PLACES_MANAGE
_FILES: Final = (Action.FILES_LIST, Action.FILES_READ)
GRANTED_ACTIONS: Final = frozenset(
    {_REVIEW_APPLY, _QUERY, _AGENDA, *_FILES, _PLACES}
)  # that the owner's grants may refuse


def lacking_words(remote: Collection[str], *, is_marked: bool, is_approved: bool) -> list[str]:
    """Return the words that ``review.remote`` lacks for a verdict.

    Args:
        remote: words of the grant.
        is_marked: the verdict approves or edits an item that has a mark.
        is_approved: the verdict edits a row that its owner has approved.
    """
    words = ((MARKED, is_marked), (APPROVED, is_approved))
    return [word for word, is_needed in words if is_needed and word not in remote]


def refused_by_owner(
    call: ToolCall, granted: Mapping[str, Collection[str]], *, is_marked: bool = False
) -> str | None:
    """Return why the owner's grants do not allow *call*, or None if they do.

    Args:
        granted: tables or folders of each grant, by the grant's name; of ``review.remote``, ``MARKED``,
            ``APPROVED``, both or nothing.
        is_marked: the call approves or edits an item that has a mark.
    """
    action = call.action
    if action is _REVIEW_APPLY:
        remote = granted.get(OwnerGrant.REVIEW_REMOTE)
        if remote is None:
            return f"the owner of this device does not grant {OwnerGrant.REVIEW_REMOTE.value!r}"
        is_approved = call.review is not None and call.review.row is not None
        if lacking := ",".join(lacking_words(remote, is_marked=is_marked, is_approved=is_approved)):
            return f"the row is {lacking}; the owner of this device does not grant 'review.remote={lacking}'"
    tables = (
        {str(call.table)}
        if action is _QUERY and call.data.get("approved") is True
        else AGENDA
        if action is _AGENDA
        else frozenset()
    )
    if not tables <= {*granted.get(OwnerGrant.ROWS_READ, ())}:
        return f"the owner of this device does not grant 'rows.read' of {', '.join(sorted(tables))}"
    if action is _PLACES and OwnerGrant.PLACES not in granted:
        return f"the owner of this device does not grant {OwnerGrant.PLACES.value!r}"
    if action in _FILES:
        root = root_in(str(call.data.get("path", "")))
        if root not in granted.get(OwnerGrant.FILES_READ, ()):
            return f"the owner of this device does not grant {OwnerGrant.FILES_READ.value!r} of {root!r}"
    return None
