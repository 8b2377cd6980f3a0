"""Grants that requests of a device require.

No grant is required for requests about the device itself, for reading its own agents, and for reports on
behalf of its owner.
"""

from hub.api.device import Later
from hub.api.door.roles import DEVICE_REQUESTS
from hub.links.link import DeviceLink
from hub.requests.params import Handler, Methods
from protocol.coordination import Method
from protocol.frame import Parameters
from storage.devices import devices
from storage.devices.devices import Grant
from storage.store import Store


def granted(store: Store, methods: Methods) -> Methods:
    """Return *methods*; each raises NotGranted if the requesting device lacks its grant."""
    return {
        name: handler
        if (grant := DEVICE_REQUESTS[Method(name)].grant) is None
        else _after_grant(store, grant, handler)
        for name, handler in methods.items()
    }


def _after_grant(store: Store, grant: Grant, handler: Handler) -> Handler:
    async def answer(link: DeviceLink, params: Parameters) -> Parameters | Later:
        await store.read(devices.require_grant, link.device_id, grant)
        return await handler(link, params)

    return answer
