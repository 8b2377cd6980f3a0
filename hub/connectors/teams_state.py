"""Cursor of Teams: progress in chats and channels."""

from datetime import datetime
from typing import Self

import msgspec

from hub.connectors.connector import Cursor
from hub.connectors.failures import CursorLost

MOST_DONE = 300  # chats stored in a round; a forgotten chat is read again


class ChannelState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Progress in a channel. *link*: next page; *after*: start of reading; *newest*: last message read."""

    after: datetime
    newest: datetime
    link: str | None = None


class TeamsState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Progress in all chats and channels.

    Attributes:
        first: earlier changes are ignored.
        floor: all chats were read up to this time.
        top: floor after the current round.
        done: time up to which each chat was read in the current round.
    """

    first: datetime
    floor: datetime
    top: datetime | None = None
    done: dict[str, datetime] = {}
    channels: dict[str, ChannelState] = {}

    @classmethod
    def read(cls, cursor: Cursor | None, since: datetime) -> Self:
        """Decode the cursor. Raises CursorLost if it is foreign."""
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
        """Record that the chat was read up to *until*."""
        done = {name: at for name, at in self.done.items() if name != chat} | {chat: until}
        return msgspec.structs.replace(self, done=dict(list(done.items())[-MOST_DONE:]))

    def with_channel(self, name: str, channel: ChannelState) -> Self:
        return msgspec.structs.replace(self, channels=self.channels | {name: channel})

    def ended(self, *, keeps_done: bool) -> Self:
        """Record the end of a round. *keeps_done*: each chat continues from its own time."""
        floor = self.floor if self.top is None else max(self.floor, self.top)
        done = self.done if keeps_done else {}
        return msgspec.structs.replace(self, floor=floor, top=None, done=done)
