"""``[backup]``: automatic backups in the state folder."""

from hub.settings.reload_policy import live
from hub.settings.values import Flag, Table, Whole


class BackupSettings(Table):
    """``[backup]``: the backups that the hub makes of itself, in its state folder."""

    daily: Flag = live(True, "One a day, where the database is a file of this hub.")
    keep_days: Whole = live(7, "The newest of so many days that have one.")
    keep_weeks: Whole = live(4, "The newest of so many weeks that have one.")
