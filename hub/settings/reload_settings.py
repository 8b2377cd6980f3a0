"""``[reload]``: how an edit of hub.toml is applied."""

from hub.settings.reload_policy import live
from hub.settings.values import Flag, Table


class ReloadSettings(Table):
    """``[reload]``: how an edit of hub.toml is applied."""

    watch: Flag = live(True, "Take up a good edit by itself; without it, when 'hub reload' says so.")
