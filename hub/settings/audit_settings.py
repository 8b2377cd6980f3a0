"""``[audit]``: retention of the audit log."""

from hub.settings.reload_policy import live
from hub.settings.values import Days, Table


class AuditSettings(Table):
    """``[audit]``: how long the record of who changed what is kept."""

    keep_days: Days = live(400, "Entries older than this are removed, the oldest first.")
