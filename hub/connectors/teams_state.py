"""How far chats and channels were read: the cursor of Teams."""

from datetime import datetime
from typing import Self

import msgspec

from hub.connectors.connector import Cursor
from hub.connectors.failures import CursorLost

MOST_DONE = 300  # chats that a round remembers; one that it forgot is looked through again


class ChannelState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A channel. *link*: where it goes on; *after*: from when on it is read; *newest*: that was read."""

    after: datetime
    newest: datetime
    link: str | None = None


class TeamsState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        first: what changed before is nobody's business.
        floor: all chats were read up to here.
        top: where the floor is when the round that is under way has ended.
        done: what was read in that round: up to when, by chat.
    """

    first: datetime
    floor: datetime
    top: datetime | None = None
    done: dict[str, datetime] = {}
    channels: dict[str, ChannelState] = {}

    @classmethod
    def read(cls, cursor: Cursor | None, since: datetime) -> Self:
        """Raises CursorLost: it is none of ours."""
        if cursor is None:
            return cls(first=since, floor=since)
        try:
            return msgspec.convert(cursor, cls)
        except msgspec.ValidationError as error:
            raise CursorLost("the cursor is not one of this release") from error

    def spelled(self) -> Cursor:
        cursor: Cursor = msgspec.to_builtins(self)
        return cursor

    def with_chat(self, chat: str, until: datetime) -> Self:
        """The chat was read up to *until*."""
        done = {name: at for name, at in self.done.items() if name != chat} | {chat: until}
        return msgspec.structs.replace(self, done=dict(list(done.items())[-MOST_DONE:]))

    def with_channel(self, name: str, channel: ChannelState) -> Self:
        return msgspec.structs.replace(self, channels=self.channels | {name: channel})

    def ended(self, *, keeps_done: bool) -> Self:
        """The round of the chats has ended. *keeps_done*: each chat goes on from where it was read itself."""
        floor = self.floor if self.top is None else max(self.floor, self.top)
        done = self.done if keeps_done else {}
        return msgspec.structs.replace(self, floor=floor, top=None, done=done)
