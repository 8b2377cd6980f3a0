"""``[plugins]``: code of other packages that may run inside the hub."""

from hub.settings.reload_policy import restart
from hub.settings.values import Name, Table


class PluginSettings(Table):
    """``[plugins]``: installed packages that are used; by default none."""

    connectors: tuple[Name, ...] = restart((), "Providers of connectors that may be loaded.")
