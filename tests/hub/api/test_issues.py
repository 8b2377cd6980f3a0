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
from tests.support.hub import ServedHub, open_empty_hub

ANNA, EVE = UserId("u-anna"), UserId("u-eve")
FOUND = (
    error("disk.full", "no room is left", fix="make room"),
    warning("token.ends", "a token ends", fix="make another", subject="t-1", user_id=ANNA),
    notice("pairing.waits", "a device waits", fix="type its code", subject="p-1", user_id=EVE),
)


async def check(now: datetime) -> Iterable[Finding]:
    return FOUND


async def test_a_user_is_told_of_their_own_issues_and_who_sees_everything_of_all(tmp_path: Path) -> None:
    async with open_empty_hub(tmp_path) as hub:
        await _told_by_user(hub)


async def _told_by_user(hub: ServedHub) -> None:
    issues = FoundIssues(clock=FakeClock(), metrics=Metrics())
    issues.add("all", check)
    everything = Issues(issues, hub.store, hub.clock)
    told = {
        seer: [view.id for view in await everything.seen_by(seer).all()]
        for seer in (None, ANNA, EVE, UserId("u-bob"))
    }
    assert told == {
        None: ["disk.full", "token.ends", "pairing.waits"],
        ANNA: ["token.ends"],
        EVE: ["pairing.waits"],
        UserId("u-bob"): [],
    }
    assert await everything.counts() == IssueCounts(errors=1, warnings=1, notices=1)
    assert await everything.seen_by(ANNA).counts() == IssueCounts(errors=0, warnings=1, notices=0)


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
        assert await noun.counts() == IssueCounts()
        assert checks == 2
        found.add(FOUND[0])
        clock.advance(FRESH_S)
        assert (await noun.counts()).errors == 1, "the list and its numbers are equally fresh"
