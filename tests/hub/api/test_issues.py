"""Issues over the REST interface: counted by the checks, and muted by persons, at all nodes."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from hub.api.resources.issues import IssueCounts, IssuesResource
from hub.base.metrics import Metrics
from hub.base.roles import Role
from hub.health.issues import FRESH_S, Finding, error, notice, warning
from hub.health.issues import IssueRegistry as FoundIssues
from protocol.ids import UserId
from storage import changes
from tests.support.clock import START, FakeClock
from tests.support.hub import ServedHub, answer, nodes_of, open_empty_hub, over_tcp, over_unix
from tests.support.postgres import Postgres

ANNA, EVE = UserId("u-anna"), UserId("u-eve")


FOUND = (
    error("disk.full", "no room is left", fix="make room"),
    warning("token.ends", "a token ends", fix="make another", subject="t-1", user_id=ANNA),
    notice("pairing.waits", "a device waits", fix="type its code", subject="p-1", user_id=EVE),
)


async def test_issue_counts_are_refreshed_after_five_seconds(tmp_path: Path) -> None:
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
        resource = IssuesResource(issues, hub.store, hub.clock)
        await issues.run_checks()
        found.clear()
        assert (await resource.counts()).errors == 1, "the last check is younger than five seconds"
        clock.advance(FRESH_S)
        assert (await resource.counts(), checks) == (IssueCounts(), 2)
        found.add(FOUND[0])
        clock.advance(FRESH_S)
        assert (await resource.counts()).errors == 1, "the list and its numbers are equally fresh"


OLD = notice("backup.old", "there is no backup", fix="hub backup FILE")


ENDS = warning("token.ends", "a token ends", fix="make another", subject="t-1")


async def check(now: datetime) -> Iterable[Finding]:
    return (OLD, ENDS)


def find(hub: ServedHub) -> None:
    """Let the two issues be all that the hub finds."""
    hub.app.issues._checks.clear()
    hub.app.issues.add("all", check)


async def listed(client: httpx2.AsyncClient, **asked: Any) -> list[str]:
    answered = await client.get("/v1/issues", params={"anew": True, **asked})
    return [one["key"] for one in answered.json()["issues"]]


async def test_muted_issue_is_listed_separately_until_expiry_or_unmute(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/hub.db"
    async with open_empty_hub(tmp_path, database=database) as hub:
        answer(hub)
        find(hub)
        async with over_unix(hub) as client:
            token, backup = await listed(client)
            assert (backup, token.startswith("token.ends-")) == ("backup.old", True)
            for key in (backup, token):
                muted = await client.post(f"/v1/issues/{key}/mute", json={"reason": "a mirror"})
                assert muted.status_code == 200, muted.text
            assert (await client.get("/v1/status")).json()["issues"]["notices"] == 0
            ends = {"reason": "soon", "until": (START + timedelta(hours=1)).isoformat()}
            assert (await client.post(f"/v1/issues/{token}/mute", json=ends)).status_code == 200
            past = await client.post(f"/v1/issues/{token}/mute", json=ends | {"until": START.isoformat()})
            unknown = await client.post("/v1/issues/disk.full/mute", json={"reason": "x"})
            assert (past.status_code, unknown.status_code) == (422, 404)
            entries = (await client.get("/v1/audit", params={"event": "issue.muted"})).json()["entries"]
            assert [(one["subject"], one["detail"]["reason"]) for one in entries] == [
                (token, "soon"),
                (token, "a mirror"),
                (backup, "a mirror"),
            ]
            async with over_tcp(hub, await hub.token(Role.VIEWER)) as viewer:
                refused = await viewer.post(f"/v1/issues/{backup}/unmute")
                assert (refused.status_code, await listed(viewer, muted=True)) == (403, [token, backup])
    async with open_empty_hub(tmp_path, database=database) as hub:
        answer(hub)
        find(hub)
        async with over_unix(hub) as client:
            assert (await listed(client), await listed(client, muted=True)) == ([], [token, backup])
            hub.clock.advance(3_600)
            assert (await listed(client), await listed(client, muted=True)) == ([token], [backup])
            shown = await client.post(f"/v1/issues/{backup}/unmute")
            assert (shown.status_code, shown.json()["reason"]) == (200, "a mirror")
            assert await listed(client) == [token, backup]
            assert (await client.post(f"/v1/issues/{backup}/unmute")).status_code == 404


async def test_muting_an_issue_takes_effect_and_is_announced_at_all_nodes(
    tmp_path: Path, postgres: Postgres
) -> None:
    async def changed(hub: ServedHub, after: int) -> set[tuple[str, str]]:
        found = await hub.store.read(changes.changes_after, after)
        return {(one.kind, one.subject) for one in found.changes if one.kind == "issue"}

    with postgres.database() as url:
        async with nodes_of(tmp_path, url, "node-east", "node-west") as (east, west):
            for hub in (east, west):
                find(hub)
            async with over_unix(east) as client, over_unix(west) as other:
                begin = await east.store.read(changes.newest)
                token, backup = await listed(client)
                assert await listed(other) == [token, backup]
                for hub in (east, west):
                    await hub.app.issues.run_checks()  # as its service does a second after a change
                assert await changed(west, begin) == {("issue", backup), ("issue", token)}
                begin = await east.store.read(changes.newest)
                assert (
                    await client.post(f"/v1/issues/{token}/mute", json={"reason": "x"})
                ).status_code == 200
                assert await changed(west, begin) == {("issue", token)}
                assert (await listed(other), await listed(other, muted=True)) == ([backup], [token])
                assert list(west.app.issues.muted) == [token]
                elsewhere = await other.post("/v1/issues/device.flapping-1234abcd/mute", json={"reason": "x"})
                assert elsewhere.status_code == 200
                assert (await other.post(f"/v1/issues/{token}/unmute")).status_code == 200
                assert await listed(client) == [token, backup]
