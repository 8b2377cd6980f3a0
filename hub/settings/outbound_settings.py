"""``[outbound]``: destinations of the hub's own connections."""

from typing import Annotated

from pydantic import AfterValidator

from hub.outbound.rules import OutboundRules
from hub.settings.reload_policy import restart
from hub.settings.values import Table, refusal


def _host_or_network(entry: str) -> str:
    try:
        OutboundRules.parse([entry])
    except ValueError as error:
        raise refusal(
            "outbound", str(error), hint='as in "10.0.0.0/8", "192.168.1.5" or "model.lan"'
        ) from error
    return entry


class OutboundSettings(Table):
    """``[outbound]``: where the hub itself may connect to, in addition to public addresses."""

    allow: tuple[Annotated[str, AfterValidator(_host_or_network)], ...] = restart(
        (), 'Hosts and networks that may be asked though they are private, as in "10.0.0.0/8".'
    )
