"""Interface of a connected device, the same for connections in this process and elsewhere.

Guarantees of every implementation:

- Each call ends exactly once, with an answer or with one of the named errors.
- When the connection ends, all open calls and streams end at once with ``LinkLost``. A link is never
  reused: the presence returns the device's next link.
- Frames of one run arrive in the order in which the device sent them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Final, NamedTuple, Protocol

from protocol.capabilities import CAPABILITY_OF, CapabilityName
from protocol.errors import DeliveryError, ErrorCode
from protocol.frame import Frame
from protocol.handshake import Client
from protocol.ids import DeviceId, UserId
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest, AgentRun

ALWAYS_ACTIONS: Final = (Action.INSERT, Action.UPDATE, Action.DELETE, Action.QUERY)

ALWAYS: Final = frozenset[str]({*ALWAYS_ACTIONS, *(CAPABILITY_OF[action] for action in ALWAYS_ACTIONS)})

# Of devices that answer a repeated call as before, by its id; others may do it again.
_IDEMPOTENT: Final = frozenset[str]({CapabilityName.TOOL_INSERT, CapabilityName.TOOL_CALLS})

RunFrame = AgentAck | AgentManifest | AgentData | AgentComplete


# So long ``call_many`` waits for a device that may not keep ids; other calls are sent meanwhile.
LATE_AFTER_S: Final = 0.5


def is_idempotent(capabilities: Collection[str]) -> bool:
    """Return True if a device with these capabilities keeps the ids of calls with their answers."""
    return not _IDEMPOTENT.isdisjoint(capabilities)


class RepeatedCall(Enum):
    """Fate of a call whose id ``call_many`` may have sent before on the same connection."""

    SENT = "sent"  # a device that keeps ids gets it each time
    AWAITED = "awaited"  # the device may be at work on it still
    ANSWERED = "answered"  # it returns that answer


class RoundTrip(NamedTuple):
    """Time from a keepalive ping to its pong, which came *age_s* ago."""

    seconds: float
    age_s: float


class RunTooLarge(DeliveryError):
    """A device exceeded the size limit of a run. The connection stays open."""

    code = ErrorCode.TOO_LARGE


class SpoolFailed(DeliveryError):
    """Frames of a run could not be spooled to disk. The connection stays open."""

    code = ErrorCode.OVERLOADED


class RunStream(Protocol):
    """Frames of one run in order; iterate over it once.

    The iteration stops after ``agent_complete``. It raises ``LinkLost`` if the connection ends before, and
    ``RunTooLarge`` or ``SpoolFailed`` if the hub had to stop reading the run.
    """

    def __aiter__(self) -> "RunStream": ...

    async def __anext__(self) -> RunFrame: ...

    @property
    def is_ready(self) -> bool:
        """True if the next frame has arrived, so that nothing waits for it."""
        ...

    def arrived_paths(self) -> Iterable[str]:
        """Return the paths of pieces that arrived and are not read, oldest first; some may be left out."""
        ...

    async def fetch(self, paths: Sequence[str], *, last: bool) -> None:
        """Request files of the manifest. A long list is sent in several frames.

        Raises:
            LinkLost, DeviceSlow: some of the paths may have been requested.
        """
        ...

    async def grant(self, pieces: int) -> None:
        """Allow the device to send *pieces* more; call it once after as many were processed.

        Does nothing for a device without credit support.

        Raises:
            LinkLost, DeviceSlow: no credit was granted.
        """
        ...


class DeviceLink(Protocol):
    """Connection of a device.

    Attributes:
        credential: ``token:ID`` or ``key:ID`` that opened the connection; updated when the device replaces
            its key.
    """

    credential: str

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def user_id(self) -> UserId: ...

    @property
    def epoch(self) -> int:
        """Number that increases with each connection of the device."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """Capability names from the device's hello."""
        ...

    @property
    def offers(self) -> Mapping[str, str]:
        """Capabilities with their versions, as written by the device."""
        ...

    @property
    def owner_grants(self) -> Mapping[str, Collection[str]]:
        """Grants of the device's owner to this hub, from the hello: tables by grant."""
        ...

    @property
    def client(self) -> Client | None:
        """Program of the device, as its hello names it."""
        ...

    @property
    def skew(self) -> str:
        """Difference between the protocol of the hub and of the device, as ``skew_of`` describes it."""
        ...

    @property
    def roots(self) -> Sequence[str]:
        """Folders that the device shares, from the hello."""
        ...

    @property
    def missing(self) -> Sequence[str]:
        """Folders that the device would share and that are not there, from the hello."""
        ...

    @property
    def round_trip(self) -> RoundTrip | None:
        """Newest round trip of the connection, or None before the first."""
        ...

    @property
    def answered_at(self) -> float:
        """Moment of the device's last answer to a call of any sender, in monotonic seconds; -inf: none.

        An answer to no call of this connection does not count.
        """
        ...

    def can(self, capability: str) -> bool:
        """Return True if the device has a capability, or supports an action of ``tool_call``.

        Insert, update, delete and query are always supported.
        """
        ...

    async def call(self, frame: ToolCall) -> Answer:
        """Send a call to the device and wait up to ``frame.deadline_ms`` for its answer.

        Raises:
            CallUnsupported, CallNotGranted, TooManyCalls, CallInWork, DeviceSlow: the frame was not sent.
            LinkLost: the connection ended; ``dispatched`` is True if the frame may have been sent.
            CallTimedOut: no answer in time; the effect is unknown.
        """
        ...

    async def call_many(self, frames: Sequence[ToolCall]) -> list[Answer | DeliveryError]:
        """Send calls together, and wait until each is answered, or its deadline has passed.

        The deadlines count from the device's last answer to any call, if that is later than the sending.

        A device that can take several calls in a frame gets one frame; the calls' texts fit into it
        (``batches_of``).

        A device that may not keep the ids of calls gets none again that it has answered on its connection,
        and none before its deadline. There it counts from the last answer to a call that was sent before.
        This method waits LATE_AFTER_S at most for such a device; see ``repeat_of`` for the others.

        Returns:
            For each call the answer, or CallTimedOut, LinkLost or DeviceSlow, as ``call`` raises them.

        Raises:
            CallUnsupported, CallNotGranted, TooManyCalls, CallInWork, DeviceSlow, LinkLost: nothing was sent.
        """
        ...

    def repeat_of(self, call_id: str) -> RepeatedCall:
        """Return what ``call_many`` would do with the call of this id now."""
        ...

    def open_run(self, frame: AgentRun) -> AbstractAsyncContextManager[RunStream]:
        """Send ``agent_run`` and return the stream of the device's frames.

        Leaving the block closes the stream, and sends ``agent_cancel`` unless ``agent_complete`` was
        received.

        Raises:
            LinkLost, DeviceSlow: on entering; the frame was not sent.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Send a frame that has no answer.

        Raises:
            LinkLost, DeviceSlow: the frame was not sent.
        """
        ...
