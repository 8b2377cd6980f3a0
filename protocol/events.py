"""Events of a session for its owner: one struct for each kind."""

import msgspec

from protocol.errors import CloseCode
from protocol.frame import MAX_REASON_BYTES, Frame
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.ids import CallId
from protocol.work import Answer


class HelloReceived(msgspec.Struct, frozen=True):
    """Event at the hub: call ``accept`` or ``refuse``, and feed no data until then."""

    hello: DeviceHello


class Challenged(msgspec.Struct, frozen=True):
    """Event at the device: the hub sent its challenge; greet it, unless that was done at once."""

    challenge: Challenge


class Welcomed(msgspec.Struct, frozen=True):
    """Event at the device: the session is READY."""

    welcome: Welcome


class Received(msgspec.Struct, frozen=True):
    """Frame that the state allows and that has no event of its own."""

    frame: Frame


class Answered(msgspec.Struct, frozen=True):
    """Event at the hub: a device answered a call."""

    call_id: CallId
    answer: Answer


class Refused(msgspec.Struct, frozen=True):
    """Event at the device: the hub refused a frame. A close may follow."""

    error: Error


class Leaving(msgspec.Struct, frozen=True):
    """Event at the device: the hub sent goodbye and closes; the close code says whether to reconnect."""

    goodbye: Goodbye


class Silent(msgspec.Struct, frozen=True):
    """Event at the hub: three heartbeats in a row are missing after earlier ones. The connection stays."""


class Ignored(msgspec.Struct, frozen=True):
    """Event for dropped input. *what*: an error code, and the subject after a colon."""

    what: str


class Ended(msgspec.Struct, frozen=True):
    """Event that ends the session: send the queued data, then close with *code* and *reason_text*."""

    code: CloseCode
    reason: str

    @property
    def reason_text(self) -> str:
        """Text of the close frame, ``{"r": reason}``, at most MAX_REASON_BYTES of UTF-8."""
        room = MAX_REASON_BYTES - len(b'{"r":""}')
        reason = self.reason
        while len(msgspec.json.encode(reason)) - 2 > room:
            reason = reason[:-1]
        return msgspec.json.encode({"r": reason}).decode()


SessionEvent = (
    HelloReceived | Challenged | Welcomed | Received | Answered | Refused | Leaving | Silent | Ignored | Ended
)
