"""Capabilities of devices, and which actions each permits."""

from collections.abc import Mapping
from enum import StrEnum

from protocol.tool_calls import Action


class CapabilityName(StrEnum):
    """Capabilities that a device may list in its hello. Unknown names are kept and ignored."""

    AGENT_DATA_CREDIT = "agent_data.credit"
    AGENT_MANIFEST = "agent_manifest"
    AGENT_MANIFEST_PAGES = "agent_manifest.pages"
    AGENT_RUN_ONLY = "agent_run.only"
    AGENT_ACK = "agent_ack"
    AGENT_RECEIPT = "agent_receipt"
    AGENT_CONFIG = "agent.config"
    TOOL_INSERT = "tool.insert"
    TOOL_UPDATE = "tool.update"
    TOOL_DELETE = "tool.delete"
    TOOL_QUERY = "tool.query"
    ITEM_REVIEW = "item.review"
    ITEM_PLACES = "item.places"  # the device reports where approved items are outside of its file
    FILE_GET = "file.get"
    FILE_PUT = "file.put"
    MESSAGE_DELIVER = "message.deliver"
    USER_ASK = "user.ask"
    BROWSER_OPEN = "browser.open"
    ROWS_LIST = "rows.list"
    ROWS_KNOWN = "rows.known"
    ROWS_AGENDA = "rows.agenda"
    ROWS_SHA256 = "rows.sha256"  # digests of rows are SHA-256, not BLAKE2b
    AGENT_WAKE = "agent.wake"
    AGENT_WORK = "agent.work"  # runs in the mode work
    TABLE_DECLARE = "table.declare"
    FILES_LIST = "files.list"
    FILES_READ = "files.read"
    PLACES_MANAGE = "places.manage"
    TOOL_CALLS = "tool_calls"  # several calls in one frame
    HUBS = "hubs"


CAPABILITY_OF = {
    action: CapabilityName.ITEM_REVIEW
    if action is Action.REVIEW_APPLY
    else CapabilityName(action if "." in action else f"tool.{action}")
    for action in Action
}
ALWAYS_ALLOWED = frozenset({Action.INSERT, Action.UPDATE, Action.DELETE, Action.QUERY})  # listed or not
ALWAYS_OFFERED: Mapping[str, str] = {CAPABILITY_OF[action]: "1.0.0" for action in sorted(ALWAYS_ALLOWED)}
