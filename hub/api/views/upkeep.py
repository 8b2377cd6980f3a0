"""What is told of the hub as a whole when something is done to it."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View


class DrainView(View):
    """The hub stops. *executing*: so many runs come to the end of what they have in hand, or pause."""

    state: Literal["draining"] = "draining"
    restarts: bool
    executing: int


class BackupView(View):
    """A backup that was made and checked. *path* lies on the hub's own machine."""

    path: str
    made_at: AwareDatetime
    size_bytes: int
    sha256: str  # of the file itself
    revision: str  # of the tables in it
