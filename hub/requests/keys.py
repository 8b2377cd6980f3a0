"""Request of a device to replace its own key."""

from hub.links.link import DeviceLink
from hub.links.rotation import KeyRotation
from hub.requests.params import Methods, text_in
from protocol.coordination import Method
from protocol.frame import Parameters


class KeyRequests:
    """Handler of ``keys.rotate``."""

    def __init__(self, rotation: KeyRotation) -> None:
        self._rotation = rotation

    @property
    def methods(self) -> Methods:
        return {Method.KEYS_ROTATE: self._rotate}

    async def _rotate(self, link: DeviceLink, params: Parameters) -> Parameters:
        key_id = await self._rotation.rotate(
            link,
            public_key=text_in(params, "public_key"),
            signature=text_in(params, "signature"),
            proof=text_in(params, "proof"),
        )
        return {"key_id": key_id}
