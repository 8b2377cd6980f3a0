"""Where a soul is kept, behind one contract: at an agent's gateway, or on its device.

Both write over what was read and over nothing else, and both say so by the SHA-256 of the text,
which is reckoned here as well.
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
from storage.coordination import soul_writes, souls
from storage.coordination.gateway_making import NoGateway
from storage.coordination.souls import SoulPlace

READY_S: Final = 5.0  # for a gateway that is just coming back; then whoever asks is told that it is not there
ANSWER_MS: Final = 30_000  # of a device, for one call
READS: Final = 3  # a text may change while its parts are read; then it is read anew
CONFLICT: Final = "agent_file_conflict"  # a gateway's word
MOST_BYTES: Final = 4 * 1024 * 1024  # of a soul on a device, whoever wrote it

T = TypeVar("T")


class Overtaken(HubError):
    """Something else is there than what was to be written over; nothing was written."""

    code = ErrorCode.SOUL_CONFLICT


class DeviceRefused(HubError):
    """The device said no, or something that cannot be read; *may_return*: not for ever."""

    code = ErrorCode.DEVICE_ERROR

    def __init__(self, message: str, *, may_return: bool = False) -> None:
        super().__init__(message)
        self.may_return = may_return


class Soul(msgspec.Struct, frozen=True, kw_only=True):
    """A soul as it is where its agent lives. *updated_at* is epoch milliseconds, where that is known."""

    content: str
    sha256: str
    updated_at: int | None = None


class SoulHome(Protocol):
    """Keeps the soul of one agent.

    Attributes:
        place: ``gateway:NAME`` or ``device:ID``.
        remembers: a write that comes again under its id is answered as it was the first time.
    """

    place: str
    remembers: bool

    async def read(self, *, trace: str) -> Soul | None:
        """It, as it is now; ``None``: there is none.

        Raises:
            GatewayError, DeliveryError, DeviceRefused
        """
        ...

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """Make it *content*; the hash of what is there then.

        Args:
            base: hash of what has to be there; ``ABSENT``: nothing.

        Raises:
            Overtaken: something else is there; nothing was written.
            GatewayError, DeliveryError, DeviceRefused: some of them say whether it may be written.
        """
        ...


class GatewayHome:
    """At an OpenClaw gateway. Writing needs admin rights there."""

    remembers = False

    def __init__(self, gateway: Gateway, remote_id: str) -> None:
        self._gateway = gateway
        self._remote_id = remote_id
        self.place = f"gateway:{gateway.name}"

    async def read(self, *, trace: str) -> Soul | None:
        """See ``SoulHome.read``."""
        await self._gateway.ready(READY_S)  # a request would wait longer for a gateway that is away
        file = await file_get(self._gateway, self._remote_id, SOUL_FILE, trace=trace)
        if file.missing or file.content is None:
            return None
        self._check(file, "agents.files.get")
        updated_at = None if file.updated_at_ms is None else int(file.updated_at_ms)
        return Soul(content=file.content, sha256=souls.digest(file.content), updated_at=updated_at)

    async def write(self, content: str, *, base: str, write_id: str, trace: str) -> str:
        """See ``SoulHome.write``. Where there was none, a gateway has nothing to compare with."""
        expected = None if base == soul_writes.ABSENT else base
        try:
            file = await file_set(
                self._gateway, self._remote_id, SOUL_FILE, content, expected_hash=expected, trace=trace
            )
        except GatewayRefused as refused:
            # Where there is no file, the refusal does not tell a hash, and is a plain one.
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
    """On a device of ours, which keeps the answers to what it was asked to change."""

    remembers = True

    def __init__(self, link: DeviceLink, agent_id: AgentId, ids: IdFactory) -> None:
        self._link = link
        self._agent_id = agent_id
        self._ids = ids
        self.place = f"device:{link.device_id}"

    async def read(self, *, trace: str) -> Soul | None:
        """See ``SoulHome.read``."""
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
        """See ``SoulHome.write``."""
        expected = None if base == soul_writes.ABSENT else base
        put = FilePut(name=SOUL_FILE, content=content, expected_sha256=expected)
        told = await self._ask(Action.FILE_PUT, CallId(write_id), msgspec.structs.asdict(put), trace)
        return self._read(told, FileKept).sha256

    async def _part(self, offset: int, trace: str) -> FilePart:
        wanted = msgspec.structs.asdict(FileGet(name=SOUL_FILE, offset=offset))
        told = await self._ask(Action.FILE_GET, CallId(self._ids.fresh()), wanted, trace)
        return self._read(told, FilePart)

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

    def _read(self, told: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(told, kind)
        except msgspec.ValidationError as error:
            raise DeviceRefused(f"{self.place}: its answer cannot be read: {error}") from error


class SoulHomes:
    """Finds the home of a soul.

    Args:
        find_gateway: by the name that hub.toml has.
        find_link: the device, if it is connected to this hub.
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
        """Let pass an agent that lives somewhere, whether that can be reached now or not.

        Raises:
            NoSession, NoGateway
        """
        if place.gateway_id is not None:
            if place.gateway is None or self._find_gateway(place.gateway) is None:
                raise NoGateway(f"the gateway of agent {place.agent} is not in hub.toml")
        elif place.device_id is None:
            raise NoSession(f"agent {place.agent} lives on no gateway and on no device")

    def get(self, place: SoulPlace) -> SoulHome:
        """The home of a soul, to be asked.

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


# What asking a home may end with.
HomeError = GatewayError | DeliveryError | DeviceRefused
HOME_ERRORS: Final = (GatewayError, DeliveryError, DeviceRefused)


def may_return(error: HomeError) -> bool:
    """Whether asking again later, unchanged, may help."""
    match error:
        case GatewayError():
            return error.retryable
        case DeviceRefused():
            return error.may_return
        case DeliveryError():
            return error.code != ErrorCode.CALL_UNSUPPORTED


def may_be_done(error: HomeError) -> bool:
    """Whether what was asked may have been done all the same."""
    return isinstance(error, GatewayError) and error.dispatched
