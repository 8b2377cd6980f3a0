"""Permissions of a device at its hub, and the things that an operator's token is limited to."""

from enum import StrEnum
from typing import Final

import msgspec

from protocol.ids import DeviceId


class Grant(StrEnum):
    """Permissions of a device at its hub, in addition to receiving its items."""

    FILES = "files"  # runs may read its files
    AGENTS = "agents"  # it may create, change and start agents
    CONNECTORS = "connectors"  # it may create and change agents that read accounts of its user
    COORDINATION = "coordination"  # its agents may use boards, messages, questions and locks


class TokenLimits(msgspec.Struct, frozen=True):
    """Things that an operator's token is limited to; of an empty kind, it is not limited.

    Attributes:
        devices: their ids.
        tables: names of devices' tables.
        roots: names of shared folders, the first part of the paths in them.
    """

    devices: tuple[DeviceId, ...] = ()
    tables: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of things that it limits."""
        return frozenset(kind for kind in self.__struct_fields__ if getattr(self, kind))

    def beyond(self, other: "TokenLimits") -> list[str]:
        """Return the kinds of which *other* reaches more than these limits."""
        reached = {kind: {*getattr(other, kind)} for kind in sorted(self.kinds)}
        return [kind for kind, things in reached.items() if not things or things - {*getattr(self, kind)}]


NO_LIMITS: Final = TokenLimits()
