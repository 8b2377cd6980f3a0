"""Messages of the bus. A field is added with a default, never renamed: nodes may be of two releases."""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from protocol.errors import ErrorCode, HubError
from protocol.ids import DeviceId, RunId


class NodeUnreachable(HubError):
    """Error: another node did not answer; whether it did what was requested is unknown."""

    code = ErrorCode.NODE_UNREACHABLE
    retryable = True


class Request(Struct, frozen=True, kw_only=True, tag="request"):
    """Request of an operator's interface that another node answers. The caller was checked by the first.

    Attributes:
        path: decoded.
        query: as it was sent.
        principal: fields of the caller, as ``api.door.roles.Principal`` has them.
        key: its ``Idempotency-Key``, which names a call to a device.
    """

    method: str
    path: str
    query: str
    body: bytes
    principal: Mapping[str, object]
    key: str | None = None


class Reply(Struct, frozen=True, kw_only=True, tag="reply"):
    """Response to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RunChanged(Struct, frozen=True, tag="run_changed"):
    """Hint: the row of a run changed."""

    run_id: RunId


class RunsWaiting(Struct, frozen=True, tag="runs_waiting"):
    """Hint: runs were queued, or are to be cancelled, maybe at the node that receives this."""


class DeviceTaken(Struct, frozen=True, tag="device_taken"):
    """Hint: the device has a newer connection at the node that sends this."""

    device_id: DeviceId
    epoch: int


Hint: TypeAlias = RunChanged | RunsWaiting | DeviceTaken
Message: TypeAlias = Request | Reply | RunChanged | RunsWaiting | DeviceTaken
