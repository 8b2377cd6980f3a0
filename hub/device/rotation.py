"""Rotation of the device's key: the old key signs the new one, over an authenticated connection."""

from hub.device.credentials import KeyCredential
from hub.device.line import Line
from hub.log import Channel
from protocol import keys
from protocol.coordination import Method, Request, Response
from protocol.frame import Parameters
from protocol.ids import DeviceId

log = Channel(__name__)

_REQUEST_ID = "rotate-key"


class Rotation:
    """Single request to the hub to accept a new key. Both keys are kept until the hub agrees."""

    def __init__(self, credential: KeyCredential) -> None:
        self._credential = credential
        self._is_done = False

    @property
    def is_wanted(self) -> bool:
        """True if the key is still the initial one."""
        return not self._is_done and not self._credential.is_renewed

    async def ask(self, line: Line) -> None:
        """Send the new key, signed by both keys. Raises BadCredential if the key cannot be created."""
        old, new = self._credential.identity, self._credential.next_identity()
        welcome = line.welcome
        text = keys.rotation_text(
            welcome.hub_id, DeviceId(welcome.device_id), old_key=old.public_key, new_key=new.public_key
        )
        params: Parameters = {
            "public_key": keys.encode(new.public_key),
            "signature": old.sign(text),
            "proof": new.sign(text),
        }
        await line.send(Request(id=_REQUEST_ID, method=Method.KEYS_ROTATE, params=params))

    def take(self, response: Response) -> str | None:
        """Handle the hub's response to the request; return a message for the person, or None."""
        if response.id != _REQUEST_ID:
            return None
        self._is_done = True
        if response.error is not None:
            log.warning("device.key.kept", code=response.error.code)
            return f"the hub does not take a new key: {response.error.message}"
        self._credential.take_next()
        return f"the device has a new key: {self._credential.identity.shown}"
