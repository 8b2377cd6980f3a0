"""``[log]``: level and content of the hub's log."""

from typing import Literal

from hub.settings.reload_policy import live
from hub.settings.values import Flag, Table


class LogSettings(Table):
    """``[log]``: what the hub writes to its log."""

    level: Literal["debug", "info", "warning", "error"] = live(
        "info", "What is less than this is not written."
    )
    content: Flag = live(
        False, "Write prompts and pieces of documents too; for finding faults, not for keeps."
    )
