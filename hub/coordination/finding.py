"""Finds a message at its gateway: as far back in the history as is looked, and among all that waits."""

from typing import Final

import msgspec

from hub.coordination.histories import Shown, Standing, shown_of
from hub.openclaw import Gateway, methods

ROWS: Final = 200  # of a history in one answer
PAGES: Final = 5  # of them: one that stands further back than 1,000 rows is lost sight of, and fails


async def find(gateway: Gateway, session_key: str | None, key: str) -> tuple[Shown, bool]:
    """What the gateway shows of the message that was sent under *key*, and whether all was seen that could.

    Raises:
        GatewayError: it could not be asked.
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
        if offset is not None:  # else these are the newest rows again
            rows = [*history.messages, *rows]
            offset = history.next_offset
        if before is not None:
            pending = [*history.pending, *pending]
            before = history.pending_before
    shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
    return shown, offset is None
