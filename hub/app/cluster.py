"""This hub as one of several: the bus between them, if there is one."""

from typing import TYPE_CHECKING

from hub.app.boot import Boot
from hub.app.context import Context
from protocol.errors import ErrorCode, HubError

if TYPE_CHECKING:
    from hub.cluster.bus import Bus  # needs an optional extra


class NoBus(HubError):
    """Error: the bus of hub.toml cannot be used."""

    code = ErrorCode.BAD_SETTINGS


def make_bus(context: Context, start: Boot) -> "Bus | None":
    """Create the bus of hub.toml; None: it has none, or no other hub can use the database.

    Raises:
        NoBus: a package is missing.
        SecretMissing: the address cannot be resolved.
    """
    url = context.settings.cluster.resolved()
    if not url or not context.store.is_shared:
        return None
    try:
        from hub.cluster.bus import Bus, Member
    except ImportError as error:
        raise NoBus(
            f"[cluster] bus needs {error.name}, of the extra 'cluster': pip install 'device-hub[cluster]'"
        ) from error
    member = Member(start.hub_id, context.boot_id, start.secret)
    return Bus(url, member, clock=context.clock, chance=context.chance)
