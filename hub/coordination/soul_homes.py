"""Places where souls are kept, with one interface: an agent's gateway or its device.

Both replace only the version that the hub has read, identified by the SHA-256 of the text. The hub computes
the hash too.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from hub.clock import IdFactory
from hub.coordination.messages import NoSession
from hub.links.link import DeviceLink
from hub.openclaw.errors import FileConflict, GatewayError, GatewayInvalid, GatewayRefused
from hub.openclaw.gateway import Gateway
from hub.openclaw.methods import AgentFile, file_get, file_set
from protocol.errors import DeliveryError, DeviceOffline, ErrorCode, HubError
from protocol.files import FileGet, FileKept, FilePart, FilePut
from protocol.frame import Record
from protocol.ids import AgentId, CallId, DeviceId
from protocol.messages import SOUL_FILE
from protocol.work import Action, ToolCall
from storage.coordination import souls
from storage.coordination.gateway_making import NoGateway
from storage.coordination.souls import SoulPlace

READY_S: Final = 5.0  # for a gateway that is reconnecting, before the caller gets an error
ANSWER_MS: Final = 30_000  # per call to a device
READS: Final = 3  # attempts, because the text may change while its parts are read
CONFLICT: Final = "agent_file_conflict"  # error type of gateways
MOST_BYTES: Final = 4 * 1024 * 1024  # of a soul on a device, by any author

T = TypeVar("T")


class Overtaken(HubError):
    """The current version is not the expected one; nothing was written."""

    code = ErrorCode.SOUL_CONFLICT


class DeviceRefused(HubError):
    """The device refused, or its answer is malformed; *may_return* is True if a retry may succeed."""

    code = ErrorCode.DEVICE_ERROR

    def __init__(self, message: str, *, may_return: bool = False) -> None:
        super().__init__(message)
        self.may_return = may_return


class Soul(msgspec.Struct, frozen=True, kw_only=True):
    """A soul with its hash. *updated_at* is in epoch milliseconds, or None if unknown."""

    content: str
    sha256: str
    updated_at: int | None = None


class SoulHome(Protocol):
    """Interface to the stored soul of one agent.

    Attributes:
        place: ``gateway:NAME`` or ``device:ID``.
        remembers: True if a repeated write id is answered with the first result.
    """

    place: str
    remembers: bool

    async def read(self, *, trace: str) -> Soul | None:
        """Return the current soul, or None if there is none.

        Raises:
            GatewayError, DeliveryError, DeviceRefused
        """
        ...

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Replace the soul by *content*. Return the hash of the stored text.

        Args:
            base: hash of the version to replace; ``ABSENT`` if there must be none.

        Raises:
            Overtaken: another version is stored; nothing was written.
            GatewayError, DeliveryError, DeviceRefused: see ``may_be_done`` for whether the text was written.
        """
        ...


class GatewayHome:
    """Soul at an OpenClaw gateway. Writing needs admin rights there."""

    remembers = False

    def __init__(self, gateway: Gateway, remote_id: str) -> None:
        self._gateway = gateway
        self._remote_id = remote_id
        self.place = f"gateway:{gateway.name}"

    async def read(self, *, trace: str) -> Soul | None:
        """Implement ``SoulHome.read``."""
        await self._gateway.ready(READY_S)  # a request would wait longer for a disconnected gateway
        file = await file_get(self._gateway, self._remote_id, SOUL_FILE, trace=trace)
        if file.missing or file.content is None:
            return None
        self._check(file, "agents.files.get")
        updated_at = None if file.updated_at_ms is None else int(file.updated_at_ms)
        return Soul(content=file.content, sha256=souls.digest(file.content), updated_at=updated_at)

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Implement ``SoulHome.write``. Without an existing file, a gateway has no hash to compare."""
        expected = None if base == souls.ABSENT else base
        try:
            file = await file_set(
                self._gateway, self._remote_id, SOUL_FILE, content, expected_hash=expected, trace=trace
            )
        except GatewayRefused as refused:
            # For a missing file, the refusal is plain, without a hash.
            if isinstance(refused, FileConflict) or refused.details.get("type") == CONFLICT:
                raise Overtaken(str(refused)) from refused
            raise
        if file.content is not None:
            self._check(file, "agents.files.set")
        return file.hash or ""

    def _check(self, file: AgentFile, method: str) -> None:
        if file.content is None or souls.digest(file.content) != file.hash:
            raise GatewayInvalid(
                f"gateway {self._gateway.name}: its answer to {method} has another hash than its content",
                gateway=self._gateway.name,
                dispatched=True,
            )


class DeviceHome:
    """Soul on a device of this hub, which remembers the answers to write requests."""

    remembers = True

    def __init__(self, link: DeviceLink, agent_id: AgentId, ids: IdFactory) -> None:
        self._link = link
        self._agent_id = agent_id
        self._ids = ids
        self.place = f"device:{link.device_id}"

    async def read(self, *, trace: str) -> Soul | None:
        """Implement ``SoulHome.read``."""
        for _ in range(READS):
            first = part = await self._part(0, trace)
            if first.sha256 is None:
                return None
            content = part.content
            while part.next_offset is not None and part.sha256 == first.sha256:
                if part.next_offset != len(content) or len(content) > MOST_BYTES:
                    raise DeviceRefused(f"{self.place}: its parts of {SOUL_FILE} do not make a text")
                part = await self._part(part.next_offset, trace)
                content += part.content
            if part.sha256 == first.sha256:
                break
        else:
            raise DeviceRefused(f"{self.place}: {SOUL_FILE} changes while it is read", may_return=True)
        if souls.digest(content) != first.sha256:
            raise DeviceRefused(f"{self.place}: {SOUL_FILE} has another hash than it says")
        return Soul(content=content, sha256=first.sha256, updated_at=first.updated_at)

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Implement ``SoulHome.write``."""
        expected = None if base == souls.ABSENT else base
        put = FilePut(name=SOUL_FILE, content=content, expected_sha256=expected)
        answer = await self._ask(Action.FILE_PUT, CallId(write_id), msgspec.structs.asdict(put), trace)
        return self._read(answer, FileKept).sha256

    async def _part(self, offset: int, trace: str) -> FilePart:
        request = msgspec.structs.asdict(FileGet(name=SOUL_FILE, offset=offset))
        answer = await self._ask(Action.FILE_GET, CallId(self._ids.fresh()), request, trace)
        return self._read(answer, FilePart)

    async def _ask(self, action: Action, id: CallId, data: Record, trace: str) -> Any:
        call = ToolCall(
            id=id, action=action, data=data, agent_id=self._agent_id, deadline_ms=ANSWER_MS, trace=trace
        )
        answer = await self._link.call(call)
        error = answer.error
        if error is None:
            return answer.result
        if error.code == ErrorCode.CHANGED_MEANWHILE:
            raise Overtaken(f"{self.place}: {error.message}")
        raise DeviceRefused(f"{self.place}: {error.message or error.code}", may_return=error.retryable)

    def _read(self, answer: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise DeviceRefused(f"{self.place}: its answer cannot be read: {error}") from error


class SoulHomes:
    """Lookup of the home of a soul.

    Args:
        find_gateway: returns the gateway with a name of hub.toml.
        find_link: returns a device's link if it is connected to this hub.
    """

    def __init__(
        self,
        find_gateway: Callable[[str], Gateway | None],
        find_link: Callable[[DeviceId], DeviceLink | None],
        ids: IdFactory,
    ) -> None:
        self._find_gateway = find_gateway
        self._find_link = find_link
        self._ids = ids

    def check(self, place: SoulPlace) -> None:
        """Check that the agent has a home, which may be disconnected.

        Raises:
            NoSession, NoGateway
        """
        if place.gateway_id is not None:
            if place.gateway is None or self._find_gateway(place.gateway) is None:
                raise NoGateway(f"the gateway of agent {place.agent} is not in hub.toml")
        elif place.device_id is None:
            raise NoSession(f"agent {place.agent} lives on no gateway and on no device")

    def get(self, place: SoulPlace) -> SoulHome:
        """Return the home of a soul, for requests.

        Raises:
            NoSession, NoGateway
            DeviceOffline: the device is not connected to this hub.
        """
        self.check(place)
        if place.gateway is not None and place.remote_id is not None:
            gateway = self._find_gateway(place.gateway)
            assert gateway is not None, "it was checked"
            return GatewayHome(gateway, place.remote_id)
        assert place.device_id is not None, "it was checked"
        link = self._find_link(place.device_id)
        if link is None:
            raise DeviceOffline(f"device {place.device} of agent {place.agent} is not connected")
        return DeviceHome(link, place.agent_id, self._ids)


# Errors of requests to a home.
HomeError = GatewayError | DeliveryError | DeviceRefused
HOME_ERRORS: Final = (GatewayError, DeliveryError, DeviceRefused)


def may_return(error: HomeError) -> bool:
    """Return True if the same request may succeed later."""
    match error:
        case GatewayError():
            return error.retryable
        case DeviceRefused():
            return error.may_return
        case DeliveryError():
            return error.code != ErrorCode.CALL_UNSUPPORTED


def may_be_done(error: HomeError) -> bool:
    """Return True if the request may have been carried out despite the error."""
    return isinstance(error, GatewayError) and error.dispatched
