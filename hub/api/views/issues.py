"""What a person should see to, as it is told."""

from typing import Literal

from pydantic import AwareDatetime

from hub.api.views.view import View


class IssueView(View):
    """Something a person should see to.

    *id* is a stable dotted name of its kind; with *subject*, what it is about, it names the issue. An
    *error* does not work; a *warning* is not safe, or will not work soon; a *notice* waits for somebody.
    *since* is when it began where that is known, else when the hub saw it first.
    """

    id: str
    subject: str
    severity: Literal["error", "warning", "notice"]
    since: AwareDatetime
    explanation: str
    fix: str
