"""Targets and deliveries over REST, and the issue of a target that fails."""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.base.roles import Role
from hub.base.toml.problems import SettingsInvalid
from hub.health.external import check_targets
from hub.health.issues import Finding, warning
from hub.notify.notifier import SETTLED_S
from protocol.lifecycles import RunState
from storage import audit
from tests.hub.notify.bench import KEY
from tests.hub.notify.receivers import receiving
from tests.support.hub import TEXT, ServedHub, answering, over_tcp, over_unix

NOTIFY = """
[[notify]]
name = "ops"
kind = "webhook"
url = "{url}/secret-path"
secret = {{ file = "ops.secret" }}
"""


async def comes_to(state: str, hub: ServedHub, client: httpx2.AsyncClient) -> dict[str, Any]:
    """Let time pass until the only delivery has a state; its requests take some of the machine's time."""
    with anyio.fail_after(60):
        while True:
            found = (await client.get("/v1/notify/ops/deliveries")).json()["deliveries"]
            if [one["state"] for one in found] == [state]:
                return dict(found[0])
            hub.clock.advance(600)
            await hub.clock.pass_time(0)


async def test_target_is_listed_tested_and_repeated_with_entries_in_the_audit_log(tmp_path: Path) -> None:
    (tmp_path / "ops.secret").write_text(KEY)
    (tmp_path / "ops.secret").chmod(0o600)
    async with receiving() as receiver, answering(tmp_path, TEXT + NOTIFY.format(url=receiver.url)) as hub:
        receiver.answer = lambda got: 204 if got.event["type"] == "notify.test" else 422
        async with over_unix(hub) as client, anyio.create_task_group() as tasks:
            (listed,) = (await client.get("/v1/notify")).json()["targets"]
            assert (listed["name"], listed["host"], listed["state"]) == ("ops", "127.0.0.1", "ok")
            assert "secret" not in str(listed)
            await tasks.start(hub.app.notifier.serve)
            await hub.clock.pass_time(0)
            tested = (await client.post("/v1/notify/ops/test")).json()
            assert (tested["outcome"], tested["is_ok"], receiver.events) == (
                "delivered",
                True,
                ["notify.test"],
            )
            assert receiver.got[0].event["data"] == {"target": "ops", "link": "http://127.0.0.1:80/"}
            await hub.run("r-1", RunState.FAILED)
            failed = await comes_to("failed", hub, client)
            assert {name: failed[name] for name in ("event", "subject", "state", "attempts", "answer")} == {
                "event": "run.failed",
                "subject": "run:r-1",
                "state": "failed",
                "attempts": 8,
                "answer": "status 422",
            }
            (found,) = await check_targets(hub.store, hub.app.notifier, hub.clock.now())
            assert (found.id, found.subject, "status 422" in found.explanation) == (
                "notify.failing",
                "ops",
                True,
            )
            (listed,) = (await client.get("/v1/notify")).json()["targets"]
            assert (listed["state"], listed["problem"]) == ("failing", "status 422")
            receiver.answer = lambda got: 204
            again = await client.post(f"/v1/notify/deliveries/{failed['id']}/retry")
            assert again.json()["state"] == "waiting"
            assert (await comes_to("delivered", hub, client))["id"] == failed["id"]
            assert list(await check_targets(hub.store, hub.app.notifier, hub.clock.now())) == []
            for verb, state in (("retry", "waiting"), ("drop", "failed")):
                changed = await client.post(f"/v1/notify/deliveries/{failed['id']}/{verb}")
                assert changed.json()["state"] == state
            refused = [
                (await client.get("/v1/notify/other/deliveries")).status_code,
                (await client.post("/v1/notify/other/test")).status_code,
                (await client.post("/v1/notify/deliveries/msg_0/retry")).status_code,
                (await client.post(f"/v1/notify/deliveries/{failed['id']}/drop")).status_code,
            ]
            assert refused == [404, 404, 404, 404]
            entries = await hub.store.read(audit.list_entries, limit=9)
            events = {row.event for row in entries if row.actor == f"operator:{os.getuid()}"}
            assert {"notify.tested", "notify.retried", "notify.dropped"} <= events
            async with over_tcp(hub, await hub.token(Role.VIEWER)) as viewer:
                assert (await viewer.post("/v1/notify/ops/test")).status_code == 403
            tasks.cancel_scope.cancel()


async def test_reload_with_a_missing_or_invalid_notify_secret_is_refused(tmp_path: Path) -> None:
    async with answering(tmp_path) as hub:
        reloader = hub.context.watch_settings.reloader
        for secret, why in ((None, "cannot read"), ("plain", "neither whsec_")):
            if secret is not None:
                (tmp_path / "ops.secret").write_text(secret)
                (tmp_path / "ops.secret").chmod(0o600)
            hub.settings.write_text(TEXT + NOTIFY.format(url="https://example.org"))
            with pytest.raises(SettingsInvalid, match=why):
                await reloader.reload(actor="test")
        assert hub.app.notifier.targets == ()


async def test_found_issues_are_events_and_no_issue_is_over_before_all_checks_ran(
    tmp_path: Path,
) -> None:
    (tmp_path / "ops.secret").write_text(KEY)
    (tmp_path / "ops.secret").chmod(0o600)
    found = [warning("backup.old", "there is no backup of anna", fix="hub backup FILE")]

    async def check(now: datetime) -> Iterable[Finding]:
        return found

    async with receiving() as receiver, answering(tmp_path, TEXT + NOTIFY.format(url=receiver.url)) as hub:
        issues = hub.app.issues
        issues._checks.clear()
        issues.add("all", check)
        async with anyio.create_task_group() as tasks:
            await tasks.start(hub.app.notifier.serve)
            await hub.clock.pass_time(0)
            await issues.run_checks()
            await hub.clock.pass_time(2)
            found.clear()
            await issues.run_checks()
            await hub.clock.pass_time(2)
            assert receiver.events == ["issue.opened"]
            hub.clock.advance(SETTLED_S)
            await issues.run_checks()
            await hub.clock.pass_time(2)
            assert receiver.events == ["issue.opened", "issue.closed"]
            tasks.cancel_scope.cancel()
        assert receiver.got[0].event["data"]["issue"] == "backup.old"
        assert b"anna" not in receiver.got[0].body
        sent = {"kind": "webhook", "outcome": "delivered"}
        assert hub.metrics.registry.get_sample_value("hub_deliveries_total", sent) == 2
