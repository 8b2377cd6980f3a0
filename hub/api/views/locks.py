"""What the operator's side is told of locks. As in ``api.views.view``: a field is added, never renamed."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View

HolderWord = Literal["run", "device"]


class LockHolderView(View):
    """Who holds a lock, or waits for it. *id*: of the run, or of the device."""

    kind: HolderWord
    id: str
    agent: str | None = None
    device: str | None = None


class LockWaitView(View):
    """One in a lock's queue. *until*: then it waits no longer; None: it waits as long as it has to."""

    holder: LockHolderView
    since: AwareDatetime
    until: AwareDatetime | None = None


class LockView(View):
    """A lock. *fence* grows with each holder; *waiting* are those in its queue, the next in turn first."""

    resource: str
    user: str
    fence: int
    holder: LockHolderView | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None  # then it is over, unless it is renewed
    waiting: tuple[LockWaitView, ...] = ()
