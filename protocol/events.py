"""What a session tells its owner: one struct for each thing that can happen."""

import msgspec

from protocol.errors import CloseCode
from protocol.frame import MAX_REASON_BYTES, Frame
from protocol.handshake import Challenge, DeviceHello, Error, Goodbye, Welcome
from protocol.ids import CallId
from protocol.work import Answer


class HelloReceived(msgspec.Struct, frozen=True):
    """At the hub: decide, then ``accept`` or ``refuse``; feed nothing until then."""

    hello: DeviceHello


class Challenged(msgspec.Struct, frozen=True):
    """At the device: the hub is there; greet it, unless that was done at once."""

    challenge: Challenge


class Welcomed(msgspec.Struct, frozen=True):
    """At the device: the session is READY."""

    welcome: Welcome


class Received(msgspec.Struct, frozen=True):
    """A frame that may come in this state and has no event of its own."""

    frame: Frame


class Answered(msgspec.Struct, frozen=True):
    """At the hub: a device answered a call, whichever way it spelled that."""

    call_id: CallId
    answer: Answer


class Refused(msgspec.Struct, frozen=True):
    """At the device: the hub refused something, in words. A close may follow."""

    error: Error


class Leaving(msgspec.Struct, frozen=True):
    """At the device: the hub said goodbye and closes now; the close code says whether to come back."""

    goodbye: Goodbye


class Silent(msgspec.Struct, frozen=True):
    """At the hub: three heartbeats did not come, though some came before. The connection stays."""


class Ignored(msgspec.Struct, frozen=True):
    """Something was dropped. *what* is an error code, and after a colon what it was about."""

    what: str


class Ended(msgspec.Struct, frozen=True):
    """This side ends the session: send what is queued, then close with *code* and *reason_text*."""

    code: CloseCode
    reason: str

    @property
    def reason_text(self) -> str:
        """The close frame's text, ``{"r": reason}``, at most MAX_REASON_BYTES of UTF-8."""
        room = MAX_REASON_BYTES - len(b'{"r":""}')
        kept = self.reason
        while len(msgspec.json.encode(kept)) - 2 > room:
            kept = kept[:-1]
        return msgspec.json.encode({"r": kept}).decode()


SessionEvent = (
    HelloReceived | Challenged | Welcomed | Received | Answered | Refused | Leaving | Silent | Ignored | Ended
)
