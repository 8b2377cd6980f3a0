"""Lookup of a sent message in its gateway's history and queue of pending inputs."""

from typing import Final

import msgspec

from hub.coordination.histories import Shown, Standing, shown_of
from hub.openclaw import Gateway, methods

ROWS: Final = 200  # per page of a history
PAGES: Final = 5  # a message older than 1,000 rows cannot be found, and fails


async def find(gateway: Gateway, session_key: str | None, key: str) -> tuple[Shown, bool]:
    """Return the state of the message sent under *key*, and whether the lookup was complete.

    Raises:
        GatewayError: the gateway could not be asked.
    """
    assert session_key is not None, "its home is known"
    history = await methods.chat_history(gateway, session_key, limit=ROWS, about=(key,))
    rows, pending = list(history.messages), list(history.pending)
    offset, before = history.next_offset, history.pending_before
    for _ in range(PAGES - 1):
        shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
        if shown.standing is not Standing.ABSENT or (offset is None and before is None):
            return shown, True
        history = await methods.chat_history(
            gateway, session_key, limit=ROWS, offset=offset, about=(key,), pending_before=before
        )
        if offset is not None:  # otherwise the page repeats the newest rows
            rows = [*history.messages, *rows]
            offset = history.next_offset
        if before is not None:
            pending = [*history.pending, *pending]
            before = history.pending_before
    shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
    return shown, offset is None
