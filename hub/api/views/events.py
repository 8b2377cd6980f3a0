"""What happens in the hub, as it is told to whoever follows it."""

from typing import Any

from pydantic import AwareDatetime

from hub.api.views.view import View

OPEN, RESET = "open", "reset"


class EventView(View):
    """One event.

    *id* is what ``Last-Event-ID`` resumes from. *event* is its stable name; ``open`` comes first
    on every stream, ``reset`` says that some are lost: whoever follows reads the state again.
    *fields* are plain values, and ids.
    """

    id: str
    event: str
    at: AwareDatetime
    fields: dict[str, Any]
