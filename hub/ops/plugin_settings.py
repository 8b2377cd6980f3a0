"""``[plugins]``: what of other packages may run inside the hub."""

from hub.ops.effect import restart
from hub.ops.values import Name, Table


class PluginSettings(Table):
    """``[plugins]``: installed packages that are used; by default none."""

    connectors: tuple[Name, ...] = restart((), "Providers of connectors that may be loaded.")
