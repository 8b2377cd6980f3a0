"""A gateway as the rest of the hub sees it: ask it something, hear what happens, know how it stands."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

REQUEST_TIMEOUT_S: Final = 30.0  # as the reference client has it


class Need(StrEnum):
    """What a method asks of us at the gateway; its spelling is the scope."""

    READ = "operator.read"
    WRITE = "operator.write"
    ADMIN = "operator.admin"  # over a connection of its own, which is opened when it is needed


class GatewayState(StrEnum):
    """Where the connection to a gateway stands."""

    CONNECTING = "connecting"
    READY = "ready"
    WAITING = "waiting"  # it ended or did not come about; tried again by itself, soon
    PARKED = "parked"  # somebody has to approve this hub at the gateway; asked again once a minute
    REFUSED = "refused"  # somebody has to change something; tried again every five minutes
    STOPPED = "stopped"  # the hub is not meant to be connected


class Problem(msgspec.Struct, frozen=True):
    """What keeps us from a gateway.

    Attributes:
        code: one word for programs: the gateway's own, or ours where it said none.
        message: a sentence for people.
        hint: what to do about it; may be empty.
    """

    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class GatewayHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway stands, now.

    Attributes:
        since: when this state began, UTC.
        next_try_at: when it is tried again, UTC; ``None``: it is ready, being tried, or stopped.
        problem: why it is not ready; of a ready one, ``None``.
        admin_problem: why the last try to get a connection with admin rights failed.
        boot_id: of the gateway's start that we were connected to last.
        restarts: how many starts of the gateway were seen since the first.
    """

    name: str
    state: GatewayState
    since: datetime
    next_try_at: datetime | None = None
    problem: Problem | None = None
    admin_problem: Problem | None = None
    boot_id: str | None = None
    version: str | None = None
    scopes: tuple[str, ...] = ()
    restarts: int = 0


# --- what listeners are told ---


class GatewayEvent(msgspec.Struct, frozen=True):
    """The gateway told that something happened. Each is told once; what is lost ends the connection."""

    gateway: str
    name: str
    payload: Any


class Reconnected(msgspec.Struct, frozen=True):
    """The gateway is ready, for the first time or again: events may have been missed, so look anew.

    *is_restart*: it was started anew since we were connected last; what it had in memory is gone.
    """

    gateway: str
    boot_id: str
    is_restart: bool


class StateChanged(msgspec.Struct, frozen=True):
    """The gateway stands otherwise than before."""

    gateway: str
    health: GatewayHealth


GatewayNews = GatewayEvent | Reconnected | StateChanged
Listener = Callable[[GatewayNews], None]


class Gateway(Protocol):
    """One OpenClaw gateway of hub.toml.

    Guarantees: a request goes out at most once per ``call`` and is never sent again by itself; its
    end is told at once when the connection ends; news come in the order in which they happened.
    """

    @property
    def name(self) -> str:
        """As hub.toml has it."""
        ...

    def health(self) -> GatewayHealth:
        """How it stands, now."""
        ...

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        trace: str | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        needs: Need = Need.READ,
    ) -> Any:
        """Ask the gateway, and give the payload of its answer, which may be ``None``.

        Waits for the connection, as long as it may come about within *timeout_s*.

        Args:
            trace: a W3C traceparent; a fresh one by default.
            timeout_s: for all of it, waiting for a connection included.

        Raises:
            GatewayRefused: it said no.
            GatewayForbidden: it said that we lack the scope, or did not give it to us.
            GatewayUnreachable: there is or was no connection, or it asks to come back later.
            GatewayTimedOut: no answer in time.
            GatewayInvalid: the answer is none.
            All of them say in ``dispatched`` whether the gateway may have done it nevertheless.
        """
        ...

    async def ready(self, timeout_s: float) -> None:
        """Wait until it is connected.

        Raises:
            GatewayUnreachable: it is not, within *timeout_s*; nothing was sent.
        """
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Let *listener* hear news from now on; gives what ends that.

        The reader of the socket calls it, so it must not wait: it puts what it hears aside
        (``hub.openclaw.inbox``). What it raises is logged and changes nothing.
        """
        ...
