"""Devices, as an operator asks for them."""

from collections.abc import Collection
from typing import Protocol

from hub.api.views.identity import DeviceDetail, DeviceView
from protocol.errors import ErrorCode, HubError
from storage.devices.devices import Grant


class AmbiguousDevice(HubError):
    """Several users have a device of this name."""

    code = ErrorCode.BAD_PARAMS


class NotConnectedHere(HubError):
    """The device has no connection to this hub that could be closed."""

    code = ErrorCode.DEVICE_OFFLINE


class DeviceFacade(Protocol):
    """Devices. One is called by its name, or by its id, which also finds one that was revoked.

    Each method that calls one raises UnknownDevice, or AmbiguousDevice; then nothing happened.
    """

    async def all(self) -> list[DeviceView]:
        """All devices that are known, revoked ones too, by name."""
        ...

    async def get(self, called: str) -> DeviceDetail: ...

    async def rename(self, called: str, name: str, *, actor: str) -> DeviceView:
        """Give it another name.

        Raises:
            DeviceNameTaken: another device of the same user bears it.
            NamedInFile: hub.toml names the device as it is called now.
        """
        ...

    async def revoke(self, called: str, *, actor: str) -> DeviceView:
        """Let it in no more, for good, and close its connection; twice is once."""
        ...

    async def grant(
        self, called: str, *, add: Collection[Grant], remove: Collection[Grant], actor: str
    ) -> DeviceView:
        """Grant it all of *add* and none of *remove*; twice is once."""
        ...

    async def resync(self, called: str, *, actor: str) -> DeviceView:
        """Compare its rows with the ledger when it connects; its connection is closed, so that it does.

        Raises:
            NoStore: it cannot tell which rows it has.
        """
        ...

    async def kick(self, called: str, *, actor: str) -> DeviceView:
        """Close its connection; it may come back.

        Raises:
            NotConnectedHere: it has none to this hub.
        """
        ...
