"""A device replaces its key: the old one vouches for the new one, over a connection it has opened."""

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
    """Asks the hub once to take a new key. Until it has agreed, both keys are kept."""

    def __init__(self, credential: KeyCredential) -> None:
        self._credential = credential
        self._is_done = False

    @property
    def is_wanted(self) -> bool:
        """Whether the key is still the one that was there at the start."""
        return not self._is_done and not self._credential.is_renewed

    async def ask(self, line: Line) -> None:
        """Send the new key, signed by both. Raises BadCredential when it cannot be made."""
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
        """The hub's answer, if it is one: what to tell the person."""
        if response.id != _REQUEST_ID:
            return None
        self._is_done = True
        if response.error is not None:
            log.warning("device.key.kept", code=response.error.code)
            return f"the hub does not take a new key: {response.error.message}"
        self._credential.take_next()
        return f"the device has a new key: {self._credential.identity.shown}"
