"""Replacement of a connected device's key by a new one."""

from typing import Final

from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.links.device_keys import check_signature, read_key
from hub.links.device_link import DeviceLink
from protocol import keys
from protocol.errors import CodedError, ErrorCode
from protocol.ids import KeyId
from storage.devices import keys as devices_keys
from storage.devices.keys import RotatedTooSoon
from storage.kernel.database import Conflict
from storage.store import Store

log = Channel(__name__)

WAIT_S: Final = 60.0  # between two key replacements of a device
_KEY = "key:"


class KeyRotation:
    """Checks that the old key signed the new one, and that the device holds the new key."""

    def __init__(
        self, store: Store, *, hub_id: str, clock: Clock, metrics: Metrics, wait_s: float = WAIT_S
    ) -> None:
        """Set up the rotation.

        Args:
            wait_s: minimum seconds between two key replacements of a device.
        """
        self.wait_s = wait_s
        self._limits_reached = metrics.limits_reached
        self._store = store
        self._hub_id = hub_id
        self._clock = clock

    async def rotate(self, link: DeviceLink, *, public_key: str, signature: str, proof: str) -> KeyId:
        """Replace the device's key. The old key is no longer valid; this connection stays open.

        Args:
            public_key: the new key in wire format.
            signature, proof: signatures over ``protocol.keys.rotation_text``, by the old and the new key.

        Raises:
            CodedError (FORBIDDEN, BAD_PARAMS): it has no key, or the new one is in use; nothing was written.
            BadProof: the new key or a signature is invalid; nothing was written.
            KeyRevoked: the old key was revoked meanwhile; nothing was written.
            RotatedTooSoon: the last replacement was too recent, as every key stays registered; nothing was
                written.
        """
        if not link.credential.startswith(_KEY):
            raise CodedError(
                ErrorCode.FORBIDDEN, "this connection was opened by a token, so there is no key to replace"
            )
        old_id, new = KeyId(link.credential.removeprefix(_KEY)), read_key(public_key)
        old = next(
            key
            for key in await self._store.read(devices_keys.list_keys, device_id=link.device_id)
            if key.id == old_id
        )
        text = keys.rotation_text(self._hub_id, link.device_id, old_key=old.public_key, new_key=new.public)
        check_signature(old.public_key, signature, text)
        check_signature(new.public, proof, text)
        try:
            await self._store.write(
                devices_keys.rotate_key,
                link.device_id,
                old=old_id,
                new=new.id,
                public_key=new.public,
                at=now_ms(self._clock),
                wait_ms=int(self.wait_s * 1000),
            )
        except RotatedTooSoon:
            self._limits_reached.labels("key_rotation_wait_s").inc()
            raise
        except Conflict as error:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "the new key is on record already; make another one"
            ) from error
        link.credential = f"{_KEY}{new.id}"
        log.info("device.key_rotated", device_id=link.device_id)
        return new.id
