"""A device, as the rest of the hub sees it: the contract, wherever the device is connected.

What every implementation promises:

- Each call ends exactly once: with an answer, or with one of the named errors.
- When the connection ends, every open call and every stream ends with it, at
  once, as ``DeviceGone``. A link never comes back to life: ask the presence for
  the device's next one.
- Frames of one run come in the order in which the device sent them.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from protocol.errors import DeliveryError, ErrorCode
from protocol.frame import Frame
from protocol.ids import DeviceId, UserId
from protocol.versions import CAPABILITY_OF
from protocol.work import (
    Action,
    AgentAck,
    AgentComplete,
    AgentData,
    AgentManifest,
    AgentRun,
    Answer,
    ToolCall,
)

# What every device can do, as an action and as a capability: devices of the first days list nothing.
ALWAYS_ACTIONS: Final = (Action.INSERT, Action.UPDATE, Action.DELETE, Action.QUERY)
ALWAYS: Final = frozenset[str]({*ALWAYS_ACTIONS, *(CAPABILITY_OF[action] for action in ALWAYS_ACTIONS)})

RunFrame = AgentAck | AgentManifest | AgentData | AgentComplete


class RunTooLarge(DeliveryError):
    """A device sent more for one run than the run's limits allow. The connection stays."""

    code = ErrorCode.TOO_LARGE


class SpoolFailed(DeliveryError):
    """What a device sent for a run could not be kept on disk. The connection stays."""

    code = ErrorCode.OVERLOADED


class RunStream(Protocol):
    """The frames of one run, in order; iterate over it once.

    The iteration stops after ``agent_complete``. It raises ``DeviceGone`` when the
    connection ends before that, ``RunTooLarge`` or ``SpoolFailed`` when the hub
    had to stop reading the run.
    """

    def __aiter__(self) -> "RunStream": ...

    async def __anext__(self) -> RunFrame: ...

    async def fetch(self, paths: Sequence[str], *, last: bool) -> None:
        """Ask for files of the manifest. A long list leaves in several frames.

        Raises:
            DeviceGone, DeviceSlow: some of the paths may have been asked for.
        """
        ...

    async def grant(self, pieces: int) -> None:
        """Let the device send *pieces* more; to be called once as many were taken in.

        Does nothing for a device that does not know credit.

        Raises:
            DeviceGone, DeviceSlow: nothing was granted.
        """
        ...


class DeviceLink(Protocol):
    """One connection of one device.

    *credential* is what opens it: ``token:ID`` or ``key:ID``; another one once the
    device has replaced its key.
    """

    credential: str

    @property
    def device_id(self) -> DeviceId: ...

    @property
    def user_id(self) -> UserId: ...

    @property
    def epoch(self) -> int:
        """Grows with each connection of the device."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """The names that the device listed in its hello."""
        ...

    @property
    def offers(self) -> Mapping[str, str]:
        """The same with the version of each, as the device spells it."""
        ...

    @property
    def owner_grants(self) -> Mapping[str, Collection[str]]:
        """What the device's owner grants this hub, as the device said in its hello: the tables of each."""
        ...

    def can(self, capability: str) -> bool:
        """Whether the device can do this: a capability, or an action of ``tool_call``.

        Insert, update, delete and query need not be listed.
        """
        ...

    async def call(self, frame: ToolCall) -> Answer:
        """Ask the device for one thing and wait ``frame.deadline_ms`` for its answer.

        Raises:
            CallUnsupported, CallNotGranted, TooManyCalls, DeviceSlow: the frame was not sent.
            DeviceGone: the connection ended; ``dispatched`` says whether the frame may have left.
            CallTimedOut: no answer in time; whether it was done is unknown.
        """
        ...

    def open_run(self, frame: AgentRun) -> AbstractAsyncContextManager[RunStream]:
        """Send ``agent_run`` and give the stream of what comes back.

        Leaving the block forgets the run, and sends ``agent_cancel`` unless its
        ``agent_complete`` has come.

        Raises:
            DeviceGone, DeviceSlow: on entering; the frame was not sent.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Send a frame that is not answered.

        Raises:
            DeviceGone, DeviceSlow: the frame was not sent.
        """
        ...
