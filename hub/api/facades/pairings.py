"""How a device is let in for the first time: by a code that it shows, or by an invitation."""

import math
from typing import Protocol

from hub.api.views.identity import InvitationView, NewInvitation, PairedView, PairingView
from protocol.errors import ErrorCode, HubError


class BadPairingCode(HubError):
    """What was typed was never a code."""

    code = ErrorCode.BAD_PARAMS


class TooManyCodes(HubError):
    """This operator typed so many wrong codes that it has to wait for *retry_after_s*."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, retry_after_s: float) -> None:
        wait_s = math.ceil(retry_after_s)
        super().__init__(f"too many codes were wrong (wrong_codes); try again in {wait_s} s")
        self.retry_after_s = retry_after_s


class UnknownInvitation(HubError):
    """No invitation has this id."""

    code = ErrorCode.UNKNOWN_INVITATION


class OneDeviceOneName(HubError):
    """An invitation for several devices cannot say what they are called."""

    code = ErrorCode.BAD_PARAMS


class TooManyInvitations(HubError):
    """As many invitations are open as may be."""

    code = ErrorCode.LIMIT_REACHED


class PairingFacade(Protocol):
    """Devices that asked to be let in.

    One that nobody decided about belongs to nobody: it is listed to those who see everybody's
    things. Whoever has the code from the device itself may approve it.
    """

    async def all(self) -> list[PairingView]:
        """Those that wait, who asked first before the others."""
        ...

    async def approve(
        self,
        code: str,
        *,
        pairing_id: str | None = None,
        name: str | None = None,
        dry_run: bool = False,
        actor: str,
    ) -> PairedView:
        """Let the device in that shows this code, as the user's whose hub this is.

        Args:
            pairing_id: of the device that the operator was shown, if one was.
            name: of the device; its own label by default. Where the user has a device of the name
                given, it comes in as that one from now on.
            dry_run: only say which device it is. A wrong code counts all the same.

        Raises:
            UnknownPairing: nobody waits with this code.
            PairingChanged: somebody does, but not as what the operator was shown.
            BadPairingCode: it never was one; it does not count.
            DeviceNameTaken: no *name* was given, and another key or token is in use under its label.
            TooManyCodes: too many codes were wrong; this one was not looked at.
        """
        ...

    async def deny(self, pairing_id: str, *, actor: str) -> PairingView:
        """Send the device away; it is told so.

        Raises:
            UnknownPairing: none of this id waits.
        """
        ...


class InvitationFacade(Protocol):
    """Invitations: whoever has one comes in without being asked."""

    async def all(self) -> list[InvitationView]:
        """All invitations that are kept, the oldest first."""
        ...

    async def create(
        self, *, device: str | None = None, uses: int = 1, ttl_s: float | None = None, actor: str
    ) -> NewInvitation:
        """Invite devices of one user.

        Args:
            device: the name that the device gets; its own label by default.
            uses: how many devices may come in by it.
            ttl_s: how long it counts; as long as hub.toml says by default.

        Raises:
            TooManyInvitations: nothing was made.
            OneDeviceOneName: *device* was given for several uses; nothing was made.
        """
        ...

    async def revoke(self, invitation_id: str, *, actor: str) -> InvitationView:
        """Nobody comes in by it any more; twice is once.

        Raises:
            UnknownInvitation: nothing changed.
        """
        ...
