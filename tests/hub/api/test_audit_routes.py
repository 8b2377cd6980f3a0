"""The audit log and the issues over the REST interface."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import httpx2
import sqlalchemy as sa

from hub.health.issues import Check, Finding, error, notice, warning
from hub.roles import Role
from protocol.ids import UserId
from storage import audit
from tests.support.clock import START
from tests.support.hub import ServedHub, over_tcp


async def tell(hub: ServedHub, *events: str) -> None:
    """Entries of the audit log, a minute apart."""
    for event in events:
        at = hub.now_ms
        await hub.store.write(audit.append, at=at, actor="operator:4000007", event=event, subject="x")
        hub.clock.advance(60)


async def test_the_audit_log_is_reported_newest_first_page_by_page(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "a.1", "a.2", "a.3")
    first = (await client.get("/v1/audit", params={"limit": 2})).json()
    rest = (await client.get("/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [entry["event"] for entry in first["entries"] + rest["entries"]] == [
        *("a.3", "a.2", "a.1"),
        "hub.created",
    ]
    assert rest["next_cursor"] is None
    assert first["entries"][0] == {
        "seq": 4,
        "at": "2026-01-05T09:02:00Z",
        "actor": "operator:4000007",
        "event": "a.3",
        "subject": "x",
        "outcome": "done",
        "detail": {},
        "prev_hash": first["entries"][1]["hash"],
        "hash": first["entries"][0]["hash"],
        "alias": None,
        "actor_name": None,
        "subject_name": None,
        "changes": [],
    }


async def test_an_entry_has_the_names_of_its_ids_and_the_values_that_changed(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    made = await client.post("/v1/operator-tokens", json={"name": "phone", "role": "admin"})
    assert made.status_code == 201, made.text
    async with over_tcp(hub, made.json()["token"]) as phone:
        assert (await phone.patch("/v1/config", json={"values": {"limits.runs": 5}})).status_code == 200
        await phone.post("/v1/agents", json={"name": "mail", "device": "desk", "prompt": "Find."})
        edited = await phone.patch("/v1/agents/mail", json={"priority": 3, "prompt": "Look."})
        assert edited.status_code == 200, edited.text
        await phone.patch("/v1/devices/desk", json={"name": "tower"})

    async def told(event: str) -> tuple[str, str | None, list[tuple[str, ...]]]:
        entry = (await client.get("/v1/audit", params={"event": event})).json()["entries"][0]
        changes = [tuple(one.values()) for one in entry["changes"]]
        return entry["actor_name"], entry["subject_name"], sorted(changes)

    assert await told("settings.changed") == ("phone", None, [("limits.runs", "4", "5")])
    edits = [("priority", "0", "3"), ("prompt", "Find.", "Look.")]
    assert await told("agent.edited") == ("phone", "mail", edits)
    assert await told("device.renamed") == ("phone", "tower", [("name", "desk", "tower")])


async def test_the_audit_log_is_told_oldest_first_for_whoever_keeps_it_elsewhere(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "a.1", "a.2", "a.3")
    wanted = {"limit": "2", "order": "oldest"}
    first = (await client.get("/v1/audit", params=wanted)).json()
    rest = (await client.get("/v1/audit", params=wanted | {"cursor": first["next_cursor"]})).json()
    assert [entry["seq"] for entry in first["entries"] + rest["entries"]] == [1, 2, 3, 4]


async def test_the_audit_log_is_narrowed_to_what_is_asked_for(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "token.created", "token.revoked", "run.started")

    async def asked(**params: str) -> list[str]:
        answer = await client.get("/v1/audit", params=params)
        return [entry["event"] for entry in answer.json()["entries"]]

    assert await asked(event="token.") == ["token.revoked", "token.created"]
    assert await asked(event="run.started") == ["run.started"]
    assert await asked(actor="operator:4000008") == []
    since = (START + timedelta(minutes=1)).isoformat()
    assert await asked(since=since) == ["run.started", "token.revoked"]
    assert await asked(until=since) == ["token.created", "hub.created"]


UNASKABLE = (
    {"event": "a\0b"},
    {"actor": ""},
    {"order": "random"},
    {"since": "yesterday"},
    {"since": "2026-01-01T00:00:00"},
    {"limit": "0"},
    {"cursor": "!"},
)


async def test_what_cannot_be_asked_of_the_audit_log_is_refused(client: httpx2.AsyncClient) -> None:
    answers = [await client.get("/v1/audit", params=params) for params in UNASKABLE]
    assert [one.json()["code"] for one in answers if one.status_code == 422] == ["bad_params"] * len(
        UNASKABLE
    )


async def test_a_check_of_the_chain_says_where_it_ends_and_where_it_was_changed(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    fresh = (await client.get("/v1/audit/verify")).json()
    await tell(hub, *(f"a.{n}" for n in range(600)))  # more than one transaction looks at
    well = (await client.get("/v1/audit/verify")).json()

    def tamper(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE audit_log SET actor = 'hub' WHERE seq = 550"))

    await hub.store.write(tamper)
    ill = (await client.get("/v1/audit/verify")).json()
    assert (fresh["ok"], fresh["entries"], fresh["last_seq"]) == (True, 1, 1)
    assert (well["ok"], well["entries"], well["first_seq"], well["last_seq"]) == (True, 601, 1, 601)
    assert (ill["ok"], ill["breaks"]) == (
        False,
        [{"seq": 550, "what": "entry 550 was edited: its hash does not fit what it says"}],
    )


async def test_an_end_that_was_kept_elsewhere_is_found_again(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await tell(hub, "a.1", "a.2")
    told = (await client.get("/v1/audit/verify")).json()
    known = f"{told['last_seq']}:{told['last_hash']}"
    await tell(hub, "a.3")
    assert (await client.get("/v1/audit/verify", params={"known": known})).json()["ok"]
    other = f"1:{told['last_hash']}"
    found = (await client.get("/v1/audit/verify", params={"known": other})).json()
    refused = await client.get("/v1/audit/verify", params={"known": "1:abc"})
    assert (found["ok"], found["breaks"][0]["seq"], refused.status_code) == (False, 1, 422)


async def test_who_may_not_see_the_audit_log_is_refused(hub: ServedHub) -> None:
    for role, status in ((Role.OPERATOR, 403), (Role.ADMIN, 200)):
        async with over_tcp(hub, await hub.token(role)) as client:
            assert (await client.get("/v1/audit")).status_code == status


def check_of(*found: Finding) -> Check:
    async def look(now: datetime) -> Iterable[Finding]:
        return found

    return look


async def test_issues_are_reported_with_what_to_do(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    full = error("disk.full", "no room is left", fix="make room")
    hub.app.issues.add("test", check_of(full))
    (issue,) = (await client.get("/v1/issues")).json()["issues"]
    status = (await client.get("/v1/status")).json()
    assert issue == {
        "id": "disk.full",
        "subject": "",
        "severity": "error",
        "since": "2026-01-05T09:00:00Z",
        "explanation": "no room is left",
        "fix": "make room",
        "key": "disk.full",
        "fixes": [],
        "is_stop": False,
        "muted": None,
    }
    assert status["issues"] == {"errors": 1, "warnings": 0, "notices": 0}


async def test_somebody_bound_to_a_user_sees_the_issues_of_that_user_s_things_only(hub: ServedHub) -> None:
    anna = await hub.user("anna")
    mine = warning("device.flapping", "hers", fix="-", subject="1", user_id=anna)
    others = warning("device.flapping", "another's", fix="-", subject="2", user_id=UserId("u-2"))
    hub.app.issues.add("test", check_of(mine, others, notice("backup.old", "the hub's", fix="-")))
    async with over_tcp(hub, await hub.token(Role.VIEWER, user_id=anna)) as client:
        hers = (await client.get("/v1/issues")).json()["issues"]
        counted = (await client.get("/v1/status")).json()["issues"]
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        everybodys = (await client.get("/v1/issues")).json()["issues"]
    assert [issue["explanation"] for issue in hers] == ["hers"]
    assert counted == {"errors": 0, "warnings": 1, "notices": 0}
    assert {issue["explanation"] for issue in everybodys} == {"hers", "another's", "the hub's"}
