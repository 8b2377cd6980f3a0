"""Issues, as operators are told of them; somebody who sees one user's things is told of those only."""

from collections.abc import Sequence

from hub.api.views.issues import IssueView
from hub.api.views.view import IssueCounts
from hub.health.issues import Issue, Issues, Severity
from hub.operations.seen import Seen


class IssueOperations(Seen):
    """Implements ``api.facades.IssueFacade``."""

    def __init__(self, issues: Issues) -> None:
        self._issues = issues

    async def all(self, *, online: bool = False, anew: bool = False) -> Sequence[IssueView]:
        """Everything that is found now, the worst first."""
        found = await self._issues.fresh(online=online, anew=anew)
        return [_view(issue) for issue in found if self._is_seen(issue)]

    def counts(self) -> IssueCounts:
        """How many there were at the last look."""
        seen = [issue.found.severity for issue in self._issues.current if self._is_seen(issue)]
        return IssueCounts(
            errors=seen.count(Severity.ERROR),
            warnings=seen.count(Severity.WARNING),
            notices=seen.count(Severity.NOTICE),
        )

    def _is_seen(self, issue: Issue) -> bool:
        return self.user_id in (None, issue.found.user_id)


def _view(issue: Issue) -> IssueView:
    found = issue.found
    return IssueView(
        id=found.id,
        subject=found.subject,
        severity=found.severity.value,
        since=issue.since,
        explanation=found.explanation,
        fix=found.fix,
    )
