"""Construction of the courier with its components."""

from hub.clock import Chance, Clock, IdFactory
from hub.coordination.courier import POLL_S, Courier, Gateways, Links
from hub.coordination.homes import Homes
from hub.coordination.moving import Moving
from hub.coordination.to_device import ToDevice
from hub.coordination.to_gateway import Heard, Paces, ToGateway
from hub.metrics import Metrics
from protocol.ids import BootId
from storage.store import Store


def make_courier(
    store: Store,
    *,
    fleet: Gateways,
    links: Links,
    clock: Clock,
    chance: Chance,
    ids: IdFactory,
    metrics: Metrics,
    boot_id: BootId,
    heard: Heard | None = None,
    paces: Paces | None = None,
    poll_s: float = POLL_S,
) -> Courier:
    """Create the courier of this boot of the hub. See ``Courier`` for the callback.

    Args:
        paces, poll_s: intervals; tests use shorter ones.
    """
    moving = Moving(store, clock=clock, ids=ids, metrics=metrics)
    to_gateway = ToGateway(
        store, moving, clock=clock, chance=chance, boot_id=boot_id, heard=heard, paces=paces
    )
    return Courier(
        store,
        fleet=fleet,
        links=links,
        moving=moving,
        to_gateway=to_gateway,
        to_device=ToDevice(moving, chance=chance),
        homes=Homes(store, moving),
        clock=clock,
        boot_id=boot_id,
        heard=heard,
        poll_s=poll_s,
    )
