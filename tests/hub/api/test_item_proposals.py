"""Proposals of verdicts on items, over the REST interface: a reader proposes, the owner decides."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from hub.roles import Role, Scope
from protocol.errors import ErrorCode
from protocol.handshake import CAPABILITY_OF
from protocol.ids import CallId, DeviceId, UserId
from protocol.work import Action
from storage import changes, retention
from storage.devices import devices
from storage.runs import calls, item_proposals, items
from storage.runs.calls import ReportedVerdict
from storage.runs.items import ITEMS, Decision, ItemRow
from storage.schema import item_proposals as table
from tests.hub.api.test_item_routes import give, keep
from tests.support.hub import ServedHub, over_tcp

WHY = "Ana did it on Monday."
Result = dict[str, Any]


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the items."""
    await hub.store.write(keep)


@pytest.fixture
async def reader(hub: ServedHub) -> AsyncIterator[httpx2.AsyncClient]:
    """Client of an assistant that may only read."""
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        yield client


@pytest.fixture
async def other(hub: ServedHub) -> AsyncIterator[httpx2.AsyncClient]:
    """Client of another assistant that may only read."""
    async with over_tcp(hub, await hub.token(Role.VIEWER)) as client:
        yield client


async def results(client: httpx2.AsyncClient, path: str, asked: Sequence[Any]) -> list[Result]:
    answer = await client.post(f"/v1/items/proposals{path}", json={"proposals": asked})
    assert answer.status_code == 200, answer.text
    found: list[Result] = answer.json()["results"]
    return found


async def propose(client: httpx2.AsyncClient, item: str, verdict: str, **more: Any) -> Result:
    (result,) = await results(client, "", [{"item": item, "verdict": verdict, "why": WHY, **more}])
    return result


async def proposals(client: httpx2.AsyncClient, item: str = "i-0") -> list[Result]:
    found: list[Result] = (await client.get(f"/v1/items/{item}")).json()["proposals"]
    return found


async def states(hub: ServedHub) -> dict[str, str]:
    rows = await hub.store.read(lambda c: c.execute(sa.select(table.c.id, table.c.state)).all())
    return {row.id: row.state for row in rows}


async def entries(client: httpx2.AsyncClient, event: str) -> list[tuple[str, dict[str, Any]]]:
    found = (await client.get("/v1/audit", params={"event": event})).json()["entries"]
    return [(one["actor"], one["detail"]) for one in found]


async def test_a_reader_proposes_and_its_owner_accepts_with_the_checks_of_a_verdict(
    hub: ServedHub, client: httpx2.AsyncClient, reader: httpx2.AsyncClient
) -> None:
    after = await hub.store.read(changes.newest)
    data = {"title": "Call Ana", "dueDate": "2027-02-03T14:00:00Z"}
    made = await propose(reader, "i-0", "approve", data=data, version=1)
    assert (made["item"], made["state"], made["error"]) == ("i-0", "open", None), made
    (shown,) = await proposals(reader)
    me = (await reader.get("/v1/me")).json()["actor"]
    assert (shown["id"], shown["verdict"], shown["why"], shown["data"]) == (made["id"], "approve", WHY, data)
    assert (shown["by"], shown["actor"]) == ("token test", me)
    listed = (await client.get("/v1/items", params={"proposed": "true"})).json()["items"]
    assert [(one["id"], one["proposals"]) for one in listed] == [("i-0", [shown])]
    others = (await client.get("/v1/items", params={"proposed": "false"})).json()["items"]
    assert (len(others), any(one["proposals"] for one in others)) == (4, False)
    counted = (await client.get("/v1/items/counts", params={"proposed": "true"})).json()
    assert (counted["total"], counted["tables"]) == (1, {"tasks": 1})
    told = await hub.store.read(changes.changes_after, after)
    assert ("proposal", "i-0") in [(one.kind, one.subject) for one in told.changes]

    accepting = {"id": "i-0", "verdict": "approve", "version": 1, "proposal": made["id"]}
    refused = await reader.post("/v1/items/verdicts", json={"verdicts": [accepting]})
    assert refused.status_code == 403
    for wrong, code in (
        ({"verdict": "reject"}, "bad_params"),
        ({"data": {"title": "other"}}, "bad_params"),
        ({"proposal": "p-9"}, "changed_meanwhile"),
        ({"id": "i-4"}, "changed_meanwhile"),
        ({"version": 2}, "changed_meanwhile"),
    ):
        (result,) = await give(client, accepting | wrong)
        assert result["error"]["code"] == code, wrong
    for _ in range(2):  # a repeated request is the same verdict
        (result,) = await give(client, accepting)
        assert result["state"] == "pending"
    detail = (await client.get("/v1/items/i-0")).json()
    assert (detail["given"]["verdict"], detail["given"]["proposed_by"]) == ("approve", "token test")
    assert (detail["proposals"], await states(hub)) == ([], {made["id"]: "accepted"})
    owner = (await client.get("/v1/me")).json()["actor"]
    assert await entries(client, "item.proposed") == [(me, {"approve": 1, "items": "i-0"})]
    judged = {"approve": 1, "items": "i-0", "proposed_by": f"{me} i-0"}
    assert await entries(client, "item.judged") == [(owner, judged)]
    stored = await hub.store.read(item_proposals.find, [made["id"]])
    assert isinstance(stored[made["id"]].data["dueDate"], int), "an instant, as a verdict has it"


async def test_each_proposal_of_a_request_is_checked_as_a_verdict_and_answered_for_itself(
    client: httpx2.AsyncClient, reader: httpx2.AsyncClient
) -> None:
    good = {"item": "i-0", "verdict": "reject", "why": WHY}
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({}, None),
        ({"verdict": "approve", "data": {"title": "x"}}, None),
        ({"why": "<b>\u202eyes</b>\nline\ttwo"}, None),
        ({"why": "x" * 500}, None),
        ({"item": "i-4"}, None),
        ({"item": "i-9"}, "unknown_item"),
        ({"item": "i-1"}, "changed_meanwhile"),
        ({"item": "i-3", "verdict": "approve"}, "changed_meanwhile"),
        ({"version": 2}, "changed_meanwhile"),
        ({"data": {"title": "x"}}, "bad_record"),
        ({"verdict": "edit"}, "bad_record"),
        ({"verdict": "edit", "data": {"title": ""}}, "bad_record"),
        ({"verdict": "edit", "data": {"isApproved": 1}}, "bad_record"),
        ({"verdict": "edit", "data": {"dueDate": "soon"}}, "bad_record"),
        ({"why": ""}, "bad_record"),
        ({"why": " \n"}, "bad_record"),
        ({"why": "\u200b\u202e"}, "bad_record"),
        ({"why": "\x1b[2J"}, "bad_record"),
        ({"why": "x" * 501}, "bad_record"),
    ]
    asked = [good | changed for changed, _ in cases]
    told = [*await results(reader, "", asked[:9]), *await results(reader, "", asked[9:])]
    for (changed, code), result in zip(cases, told, strict=True):
        found = result["error"]["code"] if result["error"] else None
        assert (found, result["item"]) == (code, (good | changed)["item"]), changed
    assert {one["error"]["message"] for one in told[-5:]} >= {"why: is empty", "why: has control characters"}
    (newest,) = await proposals(client)
    assert newest["why"] == "x" * 500, "the last one of a proposer replaces those before it"
    undo = {"proposals": [{"item": "i-0", "verdict": "undo", "why": WHY}]}
    assert (await reader.post("/v1/items/proposals", json=undo)).status_code == 422


async def test_a_proposer_has_one_open_proposal_on_an_item_and_withdraws_only_its_own(
    hub: ServedHub, client: httpx2.AsyncClient, reader: httpx2.AsyncClient, other: httpx2.AsyncClient
) -> None:
    first = await propose(reader, "i-0", "reject")
    assert (await propose(reader, "i-0", "reject"))["id"] == first["id"], "said again"
    second = await propose(reader, "i-0", "approve")
    third = await propose(other, "i-0", "reject")
    assert {one["id"] for one in await proposals(client)} == {third["id"], second["id"]}
    assert await states(hub) == {first["id"]: "withdrawn", second["id"]: "open", third["id"]: "open"}
    foreign = await reader.delete(f"/v1/items/proposals/{third['id']}")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_item")
    for _ in range(2):
        own = await reader.delete(f"/v1/items/proposals/{second['id']}")
        assert (own.status_code, own.json()["state"]) == (200, "withdrawn")
    assert (await reader.post("/v1/items/proposals/declined", json={"proposals": []})).status_code == 403
    declined, unknown, over = await results(client, "/declined", [third["id"], "p-9", second["id"]])
    assert (declined["state"], declined["item"]) == ("declined", "i-0")
    assert [one["error"]["code"] for one in (unknown, over)] == ["unknown_item", "changed_meanwhile"]
    detail = (await client.get("/v1/items/i-0")).json()
    assert (detail["verdict"], detail["given"], detail["proposals"]) == ("open", None, [])
    for event in ("item.proposal_withdrawn", "item.proposal_declined"):
        assert len(await entries(client, event)) == 1


async def test_a_limit_of_proposals_is_paid_by_the_proposer_alone(
    monkeypatch: pytest.MonkeyPatch, reader: httpx2.AsyncClient, other: httpx2.AsyncClient
) -> None:
    monkeypatch.setattr(item_proposals, "MOST_OPEN", 1)
    assert (await propose(reader, "i-0", "reject"))["state"] == "open"
    error = (await propose(reader, "i-4", "reject"))["error"]
    assert (error["code"], error["status"]) == ("limit_reached", 409)
    assert "withdraw some" in error["message"]
    assert (await propose(reader, "i-0", "approve"))["state"] == "open", "in place of the one before"
    assert (await propose(other, "i-4", "reject"))["state"] == "open"
    monkeypatch.setattr(item_proposals, "MOST_OPEN", 9)
    monkeypatch.setattr(item_proposals, "MOST_OF_ITEM", 1)
    error = (await propose(other, "i-0", "reject"))["error"]
    assert (error["code"], "has 1 open proposals" in error["message"]) == ("limit_reached", True)


async def test_a_proposal_on_an_item_with_a_mark_is_shown_and_accepted_with_the_grant_alone(
    hub: ServedHub, client: httpx2.AsyncClient, reader: httpx2.AsyncClient
) -> None:
    link = await hub.connect(await hub.device("lab"))
    link.capabilities |= {CAPABILITY_OF[Action.REVIEW_APPLY]}
    link.owner_grants["review.remote"] = []
    made = await propose(reader, "i-4", "approve")
    (listed,) = (await client.get("/v1/items", params={"proposed": "true"})).json()["items"]
    assert (listed["warnings"], listed["needs_owner"]) == (["instruction", "apart"], True)
    accepting = {"id": "i-4", "verdict": "approve", "proposal": made["id"]}
    (refused,) = await give(client, accepting)
    assert refused["error"]["code"] == ErrorCode.NOT_GRANTED
    assert await states(hub) == {made["id"]: "open"}
    link.owner_grants["review.remote"] = ["marked"]
    (given,) = await give(client, accepting)
    assert given["state"] == "pending"


async def test_proposals_end_with_the_version_and_the_verdict_of_their_item_and_are_pruned(
    hub: ServedHub, client: httpx2.AsyncClient, reader: httpx2.AsyncClient, other: httpx2.AsyncClient
) -> None:
    def newer(c: sa.Connection) -> None:
        before = next(row for row in map(dict, c.execute(ITEMS).mappings()) if row["id"] == "i-0")
        row = ItemRow(**before)
        after = ItemRow(**(before | {"call_id": CallId("c-0.2"), "version": 2, "updated_at": hub.now_ms}))
        items.write_items(c, [Decision(before=row, after=row)])
        assert item_proposals.open_on(c, ["i-0"]), "the same version"
        items.write_items(c, [Decision(before=row, after=after)])

    first, second = await propose(reader, "i-0", "reject"), await propose(reader, "i-4", "reject")
    third = await propose(other, "i-4", "approve")
    await hub.store.write(newer)
    accepting = {"id": "i-0", "verdict": "reject", "proposal": first["id"]}
    (late,) = await give(client, accepting)
    assert (late["error"]["code"], late["error"]["version"]) == ("changed_meanwhile", 2)
    reported = [ReportedVerdict(CallId("c-4"), "approved")]
    await hub.store.write(calls.record_verdicts, DeviceId("d-1"), reported, hub.now_ms)
    assert await states(hub) == dict.fromkeys([first["id"], second["id"], third["id"]], "withdrawn")
    one, two = await propose(reader, "i-0", "reject"), await propose(other, "i-0", "approve")
    (given,) = await give(client, {"id": "i-0", "verdict": "approve", "proposal": two["id"]})
    assert given["state"] == "pending"
    found = await states(hub)
    assert (found[one["id"]], found[two["id"]]) == ("withdrawn", "accepted")
    later = hub.now_ms + 1
    assert await hub.store.write(lambda c: retention.prune_proposals(c, before=later)) == 5
    await propose(reader, "i-4", "reject")
    await hub.store.write(lambda c: c.execute(sa.delete(table.metadata.tables["items"])).rowcount)
    assert await states(hub) == {}


async def test_items_of_another_user_have_no_proposals_for_a_caller(
    hub: ServedHub, client: httpx2.AsyncClient, reader: httpx2.AsyncClient
) -> None:
    made = await propose(reader, "i-0", "reject")
    anna_id = await hub.store.write(devices.ensure_user, UserId("u-2"), "anna", 1)
    scopes = [Scope.READ, Scope.REVIEW]
    async with over_tcp(hub, await hub.token(Role.OPERATOR, scopes, user_id=anna_id)) as anna:
        assert (await propose(anna, "i-0", "reject"))["error"]["code"] == "unknown_item"
        (declined,) = await results(anna, "/declined", [made["id"]])
        assert declined["error"]["code"] == "unknown_item"
    assert len(await proposals(client)) == 1
