"""Issues, as operators list them: one who sees one user's things gets theirs and no others."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from hub.api.nouns.issues import IssueCounts, Issues
from hub.health.issues import FRESH_S, Finding, error, notice, warning
from hub.health.issues import Issues as FoundIssues
from hub.metrics import Metrics
from protocol.ids import UserId
from tests.support.clock import FakeClock
from tests.support.hub import open_empty_hub

ANNA, EVE = UserId("u-anna"), UserId("u-eve")
FOUND = (
    error("disk.full", "no room is left", fix="make room"),
    warning("token.ends", "a token ends", fix="make another", subject="t-1", user_id=ANNA),
    notice("pairing.waits", "a device waits", fix="type its code", subject="p-1", user_id=EVE),
)


async def test_count_of_issues_follows_the_checks_after_a_few_seconds(tmp_path: Path) -> None:
    found = {FOUND[0]}
    checks = 0

    async def solved(now: datetime) -> Iterable[Finding]:
        nonlocal checks
        checks += 1
        return found

    async with open_empty_hub(tmp_path) as hub:
        clock = FakeClock()
        issues = FoundIssues(clock=clock, metrics=Metrics())
        issues.add("disk", solved)
        noun = Issues(issues, hub.store, hub.clock)
        await issues.run_checks()
        found.clear()
        assert (await noun.counts()).errors == 1, "the last check is younger than five seconds"
        clock.advance(FRESH_S)
        assert (await noun.counts(), checks) == (IssueCounts(), 2)
        found.add(FOUND[0])
        clock.advance(FRESH_S)
        assert (await noun.counts()).errors == 1, "the list and its numbers are equally fresh"
