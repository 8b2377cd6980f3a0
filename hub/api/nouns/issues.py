"""Issues: what a person should see to, and what to do about it."""

from typing import Annotated

from fastapi import Query

from hub.api.deps import Hub, NounRouter
from hub.api.paging import Paging
from hub.api.views.issues import IssueView
from hub.api.views.view import View

router = NounRouter(prefix="/v1/issues", tags=["system"])


class IssueList(View):
    """Some issues."""

    issues: tuple[IssueView, ...]
    next_cursor: str | None = None


@router.get("")
async def list_issues(
    hub: Hub,
    paging: Paging,
    online: Annotated[bool, Query(description="Ask other machines too, as the model's endpoint.")] = False,
    anew: Annotated[bool, Query(description="Look now; else a look a few seconds old will do.")] = False,
) -> IssueList:
    """What is found now: settings, certificates, disk, tokens, devices, agents, backups, the audit log."""
    found = sorted(
        await hub.issues.all(online=online, anew=anew), key=lambda issue: (issue.id, issue.subject)
    )
    page = paging.cut(found, key=lambda issue: (issue.id, issue.subject))
    return IssueList(issues=page.items, next_cursor=page.next_cursor)
