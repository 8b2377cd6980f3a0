"""Negotiation of the protocol version between two peers, and names of device capabilities. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from protocol.errors import ErrorCode, ProtocolError
from protocol.handshake import VersionRange
from protocol.work import Action

SPOKEN = VersionRange(min=1, max=1)  # supported by this code, on either side
ASSUMED = VersionRange(min=1, max=1)  # of a peer that sends no range


class CapabilityName(StrEnum):
    """Capabilities that a device may list in its hello. Unknown names are kept and ignored."""

    AGENT_DATA_CREDIT = "agent_data.credit"
    AGENT_MANIFEST = "agent_manifest"
    AGENT_MANIFEST_PAGES = "agent_manifest.pages"
    AGENT_ACK = "agent_ack"
    AGENT_CONFIG = "agent.config"
    TOOL_INSERT = "tool.insert"
    TOOL_UPDATE = "tool.update"
    TOOL_DELETE = "tool.delete"
    TOOL_QUERY = "tool.query"
    REVIEW_SET = "review.set"
    FILE_GET = "file.get"
    FILE_PUT = "file.put"
    MESSAGE_DELIVER = "message.deliver"
    USER_ASK = "user.ask"
    BROWSER_OPEN = "browser.open"
    ROWS_LIST = "rows.list"
    ROWS_KNOWN = "rows.known"
    AGENT_WAKE = "agent.wake"


CAPABILITY_OF: dict[Action, CapabilityName] = {
    Action.INSERT: CapabilityName.TOOL_INSERT,
    Action.UPDATE: CapabilityName.TOOL_UPDATE,
    Action.DELETE: CapabilityName.TOOL_DELETE,
    Action.QUERY: CapabilityName.TOOL_QUERY,
    Action.REVIEW_SET: CapabilityName.REVIEW_SET,
    Action.FILE_GET: CapabilityName.FILE_GET,
    Action.FILE_PUT: CapabilityName.FILE_PUT,
    Action.MESSAGE_DELIVER: CapabilityName.MESSAGE_DELIVER,
    Action.USER_ASK: CapabilityName.USER_ASK,
    Action.BROWSER_OPEN: CapabilityName.BROWSER_OPEN,
    Action.ROWS_LIST: CapabilityName.ROWS_LIST,
    Action.ROWS_KNOWN: CapabilityName.ROWS_KNOWN,
    Action.AGENT_WAKE: CapabilityName.AGENT_WAKE,
}
ALWAYS_ALLOWED = frozenset({Action.INSERT, Action.UPDATE, Action.DELETE, Action.QUERY})  # listed or not
ALWAYS_OFFERED: Mapping[str, str] = {CAPABILITY_OF[action]: "1.0.0" for action in sorted(ALWAYS_ALLOWED)}


class VersionMismatch(ProtocolError):
    """Error: two peers have no version in common."""

    code = ErrorCode.VERSION_UNSUPPORTED

    def __init__(self, ours: VersionRange, theirs: VersionRange) -> None:
        super().__init__(
            f"this side speaks versions {ours.min} to {ours.max}, the other {theirs.min} to {theirs.max}"
        )
        self.ours = ours
        self.theirs = theirs


def agree(ours: VersionRange, theirs: VersionRange | None) -> int:
    """Return the highest version that both support.

    Raises:
        VersionMismatch: no common version; the message names both ranges.
    """
    theirs = theirs or ASSUMED
    highest = min(ours.max, theirs.max)
    if highest < max(ours.min, theirs.min):
        raise VersionMismatch(ours, theirs)
    return highest
