"""Issues: problems that a person has to resolve, with a fix for each."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, listed
from hub.api.view import Instant, View
from hub.health.issues import Issue, Severity
from hub.health.issues import Issues as FoundIssues
from storage.kernel.rows import Key


class IssueView(View):
    """A problem that a person has to resolve.

    *id* is a stable dotted name of its kind; with *subject*, the thing concerned, it names the issue. An
    *error* does not work; a *warning* is not safe, or will not work soon; a *notice* waits for a person.
    *since*: when it began if that is known, else when the hub first found it.
    """

    id: str
    subject: str
    severity: Literal["error", "warning", "notice"]
    since: Instant
    explanation: str
    fix: str


class IssueCounts(View):
    """Numbers of issues by severity."""

    errors: int = 0
    warnings: int = 0
    notices: int = 0


def _key(issue: IssueView) -> Key:
    return issue.id, issue.subject


class Issues(Noun):
    """Issues of the hub; scoped to a user, those of this user's things."""

    name, path = "issues", "/v1/issues"

    def __init__(self, issues: FoundIssues) -> None:
        self._issues = issues

    @listed("", Scope.READ, key=_key)
    async def all(
        self,
        online: Annotated[bool, Meta(description="Ask other machines too, as the model's endpoint.")] = False,
        anew: Annotated[bool, Meta(description="Check now; else a check a few seconds old will do.")] = False,
        part: Part = ALL,
    ) -> list[IssueView]:
        """Check settings, certificates, disk, tokens, devices, agents, backups and the audit log."""
        found = await self._issues.fresh(online=online, anew=anew)
        return part.of(
            [IssueView.from_row(issue, issue.found) for issue in found if self._is_seen(issue)], _key
        )

    def counts(self, since: datetime | None = None) -> IssueCounts:
        """Return the number of issues at the last check, or of those that began since then, by severity."""
        seen = [
            issue.found.severity
            for issue in self._issues.current
            if self._is_seen(issue) and (since is None or issue.since >= since)
        ]
        return IssueCounts(
            errors=seen.count(Severity.ERROR),
            warnings=seen.count(Severity.WARNING),
            notices=seen.count(Severity.NOTICE),
        )

    def _is_seen(self, issue: Issue) -> bool:
        return self.user_id in (None, issue.found.user_id)
