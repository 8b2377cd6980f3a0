"""Items, their verdicts and proposals over the REST interface."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from hub.accounts.sealing_keys import FILE, KeyStore
from hub.api.resources import items as item_resources
from hub.base.roles import Role, Scope
from hub.text.excerpt import Excerpt
from protocol.calls import RowPlace
from protocol.capabilities import CAPABILITY_OF
from protocol.errors import ErrorCode
from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.tool_calls import Action
from storage import changes, schema
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from storage.effects import retention
from storage.runs import calls, excerpts, item_proposals, items
from storage.runs.calls import ReportedVerdict
from storage.runs.excerpts import SealedExcerpt
from storage.runs.items import ITEMS, Decision, ItemRow
from storage.schema import item_proposals as table
from tests.hub.device.test_inbox import COUNTED
from tests.support.clock import SeededChance
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp

MAIL = {"origin": "mail", "author": "Ann <ann@example.org>", "trusted": False}


def keep(c: sa.Connection) -> None:
    """Five items of an agent called notes, one of each verdict and one more."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    declared = DeclaredAgent(name="inbox", device_name="lab", data_types=("tasks",))
    declared_agents.reconcile_declared(
        c, user_id=owner, declared=[declared], at=1, fresh_ids=["a-1", "d-1", "s-1", "u-1"]
    )
    verdicts: list[Any] = ["open", "approved", "edited", "rejected", "open"]
    rows = [
        ItemRow(
            id=f"i-{n}",
            user_id=owner,
            agent_id=AgentId("a-1"),
            device_id=DeviceId("d-1"),
            unit_key="b.md" if n == 2 else "notes/a.md",
            target_table="notes" if n == 4 else "tasks",
            likeness=f"l-{n}",
            quote_hash="q",
            place_hash="q",
            config_fingerprint="f",
            data={"title": f"task {n}"},
            warnings=("instruction", "apart") if n == 4 else (),
            call_id=CallId(f"c-{n}"),
            run_id=RunId("r-1" if n < 4 else "r-2"),
            source=None
            if n == 3
            else {
                "path": "notes/a.md",
                "quote": "task",
                "start": 6,
                "end": 10,
                "provenance": MAIL,
                "found_by": "rule",
                "counted": [msgspec.to_builtins(COUNTED)],
                "unresolved": [{"field": "date", "words": "some day"}],
            },
            row_id=f"row-{n}",
            answered_at=2_000,
            verdict=verdict,
            verdict_at=None if verdict == "open" else 3_000,
            created_at=1_000 + n // 2,
            updated_at=3_000,
        )
        for n, verdict in enumerate(verdicts)
    ]
    items.write_items(c, [Decision(after=row) for row in rows])


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the items."""
    await hub.store.write(keep)


async def titles(client: httpx2.AsyncClient, **asked: Any) -> list[str]:
    page = (await client.get("/v1/items", params=asked)).raise_for_status().json()
    return [item["title"] for item in page["items"]]


async def test_items_are_listed_with_verdict_warnings_and_provenance(
    client: httpx2.AsyncClient,
) -> None:
    newest, older, *_ = (await client.get("/v1/items")).json()["items"]
    assert (newest["title"], newest["agent"], newest["path"]) == ("task 4", "inbox", "notes/a.md")
    assert (newest["verdict"], newest["warnings"]) == ("open", ["instruction", "apart"])
    assert (newest["row_id"], newest["run_id"]) == ("row-4", "r-2")
    one = (await client.get("/v1/items/i-4")).json()
    assert [(item["provenance"], item["found_by"]) for item in (newest, one)] == [(MAIL, "rule")] * 2
    assert (older["id"], older["provenance"], older["found_by"]) == ("i-3", None, None), "of an older release"
    assert one["reasons"] == [COUNTED.sentence, "date: the meaning of 'some day' is unclear"]
    assert (await client.get("/v1/items/i-3")).json()["reasons"] == []


def held(c: sa.Connection) -> None:
    """Let the hub hold the oldest item."""
    c.execute(
        sa.update(schema.items)
        .where(schema.items.c.id == "i-0")
        .values(verdict="held", verdict_at=None, row_id=None, answered_at=None)
    )


async def test_held_item_is_listed_and_counted_only_by_a_filter_for_held_items(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.store.write(held)
    others: list[dict[str, Any]] = [
        {},
        {"run": "r-1"},
        {"q": "task"},
        {"table": "tasks"},
        {"verdict": "open"},
    ]
    for asked in others:
        assert "task 0" not in await titles(client, **asked)
    for named in ({"unsure": True}, {"verdict": "held"}, {"unsure": True, "q": "task"}):
        assert await titles(client, **named) == ["task 0"]
    counts = [(await client.get("/v1/items/counts", params=asked)).json() for asked in ({}, {"unsure": True})]
    assert [one["total"] for one in counts] == [4, 1]
    assert (await client.get("/v1/items/i-0")).json()["verdict"] == "held"


async def test_held_item_is_rejected_at_once_and_held_again_by_undo(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await hub.store.write(held)
    for verdict, state in (("reject", "rejected"), ("undo", "held"), ("approve", "open"), ("undo", "held")):
        body = {"verdicts": [{"id": "i-0", "verdict": verdict}]}
        (result,) = (await client.post("/v1/items/verdicts", json=body)).json()["results"]
        assert result["error"] is None
        assert (await client.get("/v1/items/i-0")).json()["verdict"] == state


async def test_item_shows_each_place_with_state_and_problem_in_words(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    places = [
        RowPlace(name="todo", kind="markdown", state="arrived", at_ms=1_000, link="notes/todo.md"),
        RowPlace(name="phone", kind="caldav", state="waiting", at_ms=2_000, problem="denied"),
        RowPlace(name="moon", kind="rest", state="pondering", at_ms=2_000, problem="eclipse"),
    ]
    assert await hub.store.write(items.note_places, DeviceId("d-1"), {"row-1": places, "row-9": places}) == 1
    one = (await client.get("/v1/items/i-1")).json()
    (same,) = [item for item in (await client.get("/v1/items")).json()["items"] if item["id"] == "i-1"]
    assert one["places"] == same["places"]
    assert [(place["sentence"], place["link"]) for place in one["places"]] == [
        ("in todo", "notes/todo.md"),
        ("not in phone yet: it refuses the user or the password, or there is none", None),
        ("pondering in moon: eclipse", None),
    ]
    assert one["places"][0]["since"] == "1970-01-01T00:00:01Z"
    assert (await client.get("/v1/items/i-2")).json()["places"] == []


@each(
    ("asked", "found"),
    [
        ({"q": "TASK 4"}, ["task 4"]),
        ({"q": "task", "verdict": "rejected"}, ["task 3"]),
        ({"q": '"4 task"'}, []),
        ({"q": "4", "path": "elsewhere/"}, []),
        ({"person": "nobody-there"}, []),
        ({"q": "task", "due_until": "1960-01-01T00:00:00Z"}, []),
    ],
)
async def test_items_are_found_by_full_text_search(
    client: httpx2.AsyncClient, asked: dict[str, str], found: list[str]
) -> None:
    assert await titles(client, **asked) == found


async def test_item_search_cursor_is_valid_only_for_the_same_query(
    client: httpx2.AsyncClient,
) -> None:
    whole = await titles(client, q="task")
    paged: list[str] = []
    cursor = None
    while cursor or not paged:
        asked: dict[str, Any] = {"q": "task", "limit": 2}
        asked |= {} if cursor is None else {"cursor": cursor}
        page = (await client.get("/v1/items", params=asked)).json()
        paged += [item["title"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert (paged, len(paged)) == (whole, len({*whole}))
    first = (await client.get("/v1/items", params={"limit": 1})).json()["next_cursor"]
    other = await client.get("/v1/items", params={"q": "task", "cursor": first})
    assert (other.status_code, "another list" in other.text) == (422, True)


@each("order", ["day", "file", "doubt"])
async def test_ordered_pages_list_each_item_once_with_marked_items_last_and_short_cursors(
    hub: ServedHub, client: httpx2.AsyncClient, order: str
) -> None:
    long_path = sa.update(schema.items).values(unit_key="ordner/straße/" * 70 + "ä.md")
    await hub.store.write(lambda c: c.execute(long_path.where(schema.items.c.id != "i-1")))
    listed: list[dict[str, Any]] = []
    query: dict[str, Any] = {"order": order, "limit": 2}
    while True:
        page = (await client.get("/v1/items", params=query)).json()
        listed += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
        assert len(cursor) < 1_000
        query["cursor"] = cursor
    assert sorted(item["title"] for item in listed) == sorted(await titles(client))
    marked = [bool(item["warnings"]) for item in listed]
    assert (marked, any(marked)) == (sorted(marked), True)
    mixed = await client.get("/v1/items", params={"order": order, "q": "task"})
    assert (mixed.status_code, "its own order" in mixed.text) == (422, True)


@each(
    ("asked", "why"),
    [
        ({"q": "-*:"}, "query.q: has no words"),
        ({"person": '""'}, "query.person: has no words"),
        ({"q": "w " * 51}, "more than 50 words"),
        ({"q": "w" * 10_000}, "q"),
    ],
)
async def test_invalid_item_search_query_is_refused_with_the_reason(
    client: httpx2.AsyncClient, asked: dict[str, str], why: str
) -> None:
    answer = await client.get("/v1/items", params=asked)
    assert (answer.status_code, why in answer.text) == (422, True), answer.text


async def test_item_is_read_with_data_and_quoted_place(client: httpx2.AsyncClient) -> None:
    found = (await client.get("/v1/items/i-1")).json()
    assert (found["title"], found["data"], found["device"]) == ("task 1", {"title": "task 1"}, "lab")
    assert (found["place"]["quote"], found["place"]["start"], found["place"]["end"]) == ("task", 6, 10)
    assert (await client.get("/v1/items/i-3")).json()["place"] is None
    unknown = await client.get("/v1/items/i-9")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_item")


async def test_open_item_shows_the_excerpt_and_lists_only_with_detail(
    hub: ServedHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyStore(hub.folder, chance=SeededChance(), environ={})
    text, of_mail = Excerpt(3, "Hello.\n", "\nBye."), Excerpt(3, "Hello.\n", "task\nBye.")
    sealed = [
        SealedExcerpt(f"i-{n}", *keys.ring_now().seal(words, row=f"i-{n}", owner=f"i-{of}"))
        for n, of, words in ((0, 0, text), (2, 2, of_mail), (4, 0, text))
    ]
    source = sa.func.json_set(schema.items.c.source, "$.quote", "")  # as of a mail
    await hub.store.write(
        lambda c: c.execute(sa.update(schema.items).where(schema.items.c.id == "i-2").values(source=source))
    )
    await hub.store.write(excerpts.put_excerpts, {one.item_id: one for one in sealed}, at=1)
    place = (await client.get("/v1/items/i-0")).json()["place"]
    assert place["excerpt"] == {"line": 3, "before": "Hello.\n", "after": "\nBye.", "subject": ""}
    assert (await client.get("/v1/items/i-2")).json()["place"] == place
    assert (await client.get("/v1/items/i-1")).json()["place"]["excerpt"] is None
    assert (await client.get("/v1/items/i-4")).json()["place"]["excerpt"] is None, "another item's"
    assert "Hello" not in (await client.get("/v1/items")).text
    page = (await client.get("/v1/items", params={"detail": True})).json()
    assert {one["id"]: (one["quote"], one["excerpt"], one["data"]) for one in page["items"]} == {
        **dict.fromkeys(("i-1", "i-4"), ("task", None, None)),
        **dict.fromkeys(("i-0", "i-2"), ("task", place["excerpt"], None)),
        "i-3": (None, None, None),
    }
    monkeypatch.setattr(item_resources, "MAX_DETAIL_BYTES", 3)
    found, asked = [], {"detail": "true"}
    for _ in range(5):  # each page has one item, however long
        page = (await client.get("/v1/items", params=asked)).json()
        found.append([one["id"] for one in page["items"]])
        asked["cursor"] = page["next_cursor"]
    assert found == [["i-4"], ["i-3"], ["i-2"], ["i-1"], ["i-0"]]
    (hub.folder / FILE).unlink()
    assert (await client.get("/v1/items/i-0")).json()["place"]["excerpt"] is None, "its key is gone"
    assert (await client.post("/v1/devices/lab/revoke")).status_code == 200
    assert await hub.store.read(excerpts.keys_of_excerpts) == {}


async def test_proposal_of_words_in_the_sealed_quote_of_a_mail_is_supported(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    ring = KeyStore(hub.folder, chance=SeededChance(), environ={}).ring_now()
    sealed = SealedExcerpt("i-0", *ring.seal(Excerpt(3, "", "task\nBye."), row="i-0", owner="i-0"))
    source = sa.func.json_set(schema.items.c.source, "$.quote", "")
    await hub.store.write(
        lambda c: c.execute(sa.update(schema.items).where(schema.items.c.id == "i-0").values(source=source))
    )
    await hub.store.write(excerpts.put_excerpts, {"i-0": sealed}, at=1)
    for name, unsupported in (("Eve", ["assignee"]), ("task", [])):
        proposal = {"item": "i-0", "verdict": "edit", "why": "who", "data": {"assignee": [name]}}
        await client.post("/v1/items/proposals", json={"proposals": [proposal]})
        (shown,) = (await client.get("/v1/items/i-0")).json()["proposals"]
        assert shown["unsupported"] == unsupported


async def test_items_are_chosen_by_agent_verdict_and_run(client: httpx2.AsyncClient) -> None:
    assert await titles(client, verdict="rejected") == ["task 3"]
    assert await titles(client, verdict="open", run="r-1") == ["task 0"]
    assert len(await titles(client, agent="inbox")) == 5
    unknown = await client.get("/v1/items", params={"agent": "nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_agent")
    wrong = await client.get("/v1/items", params={"verdict": "maybe"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_params")


async def test_items_are_filtered_by_table_warning_path_text_and_device(
    client: httpx2.AsyncClient,
) -> None:
    assert await titles(client, table="notes") == ["task 4"]
    assert await titles(client, warning="instruction") == await titles(client, warning="any") == ["task 4"]
    assert await titles(client, warning="none", verdict="open") == ["task 0"]
    assert await titles(client, apart="true") == ["task 4"]
    assert await titles(client, apart="false", verdict="open") == ["task 0"]
    assert await titles(client, path="notes/", table="tasks") == ["task 3", "task 1", "task 0"]
    assert await titles(client, path="a.md") == await titles(client, path="notes/a.md") != []
    assert await titles(client, path=".md") == await titles(client, path="otes/a.md") == []
    assert (
        await titles(client, path="b.md") == await titles(client, text="TASK 2", device="lab") == ["task 2"]
    )
    assert await titles(client, text="Notes/A", verdict="open") == ["task 4", "task 0"]
    assert await titles(client, text="%") == []
    unknown = await client.get("/v1/items", params={"device": "nowhere"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_device")


async def test_item_counts_of_each_filter_respect_the_other_filters(
    client: httpx2.AsyncClient,
) -> None:
    async def counts(**asked: str) -> Any:
        return (await client.get("/v1/items/counts", params=asked)).json()

    everything = await counts()
    assert (everything["total"], everything["is_complete"]) == (5, True)
    assert everything["tables"] == {"notes": 1, "tasks": 4}
    assert everything["warnings"] == {"any": 1, "apart": 1, "instruction": 1, "none": 4}
    assert (everything["devices"], everything["agents"]) == ({"lab": 5}, {"inbox": 5})
    assert everything["folders"] == {"notes/": 4}
    marked = await counts(verdict="open", warning="any")
    assert (marked["total"], marked["tables"]) == (1, {"notes": 1})
    assert marked["warnings"] == {"any": 1, "apart": 1, "instruction": 1, "none": 1}
    others = await counts(verdict="open", apart="false")
    assert (others["total"], others["warnings"]["apart"]) == (1, 1), "those listed apart are still announced"
    assert (await counts(table="projects", text="task"))["tables"] == {"notes": 1, "tasks": 4}


async def test_edited_item_is_shown_with_the_edited_values(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    values = '{"title": "call Bob", "projectId": {"title": "House"}}'
    await hub.store.write(
        lambda c: (
            c.exec_driver_sql(
                "INSERT INTO item_verdicts (id, item_id, user_id, device_id, verdict, data, seen_call,"
                " state, next_at, actor, created_at, settled_at)"
                " SELECT 'v', id, user_id, device_id, 'approve', ?, call_id, 'done', 1, 'a', 1, 1"
                " FROM items WHERE id = 'i-1'",
                (values,),
            ).rowcount
        )
    )
    assert await titles(client, verdict="approved") == ["task 2", "call Bob"], "also those that were edited"
    found = (await client.get("/v1/items/i-1")).json()
    assert (found["title"], found["found"]) == ("call Bob", {"title": "task 1"})
    assert found["data"] == {"title": "call Bob", "projectId": "House"}


async def give(client: httpx2.AsyncClient, *verdicts: dict[str, Any], **headers: str) -> Any:
    answer = await client.post("/v1/items/verdicts", json={"verdicts": verdicts}, headers=headers)
    return answer.raise_for_status().json()["results"]


async def test_verdict_refers_to_another_row_by_id_or_title(client: httpx2.AsyncClient) -> None:
    for wrong, why in (
        ({"projectId": {"name": "House"}}, "expected an id, or"),
        ({"projectId": {"title": " "}}, "expected an id, or"),
        ({"projectId": {"title": "x" * 501}}, "at most 500 characters"),
        ({"title": {"title": "House"}}, "refers to no row"),
    ):
        (refused,) = await give(client, {"id": "i-0", "verdict": "approve", "data": wrong})
        assert (refused["error"]["code"], why in refused["error"]["message"]) == ("bad_record", True), wrong
    (given,) = await give(
        client, {"id": "i-0", "verdict": "approve", "data": {"projectId": {"title": "House"}}}
    )
    assert given["state"] == "pending"


async def test_choices_of_an_item_without_a_connected_device_have_no_rows(
    client: httpx2.AsyncClient,
) -> None:
    choices = (await client.get("/v1/items/i-0/choices")).json()
    project = {"field": "projectId", "table": "projects", "is_required": False, "rows": []}
    assert choices == {"is_asked": False, "fields": [project]}
    assert (await client.get("/v1/items/i-0")).json()["lacks"] == []
    assert (await client.get("/v1/items/i-9/choices")).status_code == 404


async def test_each_verdict_of_a_request_has_a_separate_result(client: httpx2.AsyncClient) -> None:
    results = await give(
        client,
        {"id": "i-0", "verdict": "approve", "version": 1},
        {"id": "i-4", "verdict": "approve", "version": 2},
        {"id": "i-1", "verdict": "reject"},
        {"id": "i-9", "verdict": "reject"},
        {"id": "i-4", "verdict": "edit", "data": {"title": ""}},
        {"id": "i-4", "verdict": "edit", "data": {"title": "Call Anna", "status": "maybe"}},
        {"id": "i-4", "verdict": "edit", "data": {"isApproved": 1}},
        {"id": "i-4", "verdict": "reject", "data": {"title": "x"}},
        {"id": "i-4", "verdict": "undo"},
        {"id": "i-4", "verdict": "edit", "data": {"title": "Call Anna"}},
    )
    changed, unknown, bad = "changed_meanwhile", "unknown_item", "bad_record"
    codes = [one["error"]["code"] if one["error"] else one["state"] for one in results]
    assert codes == ["pending", changed, changed, unknown, bad, bad, bad, bad, changed, "pending"]
    listed = {item["id"]: item for item in (await client.get("/v1/items")).json()["items"]}
    for found in ((await client.get("/v1/items/i-0")).json(), listed["i-0"]):
        given = found["given"]
        assert (found["verdict"], given["verdict"], given["state"]) == ("open", "approve", "pending")
    assert (listed["i-0"]["device"], listed["i-1"]["given"]) == ("lab", None)


async def test_title_of_a_proposal_is_stored_on_a_single_line(client: httpx2.AsyncClient) -> None:
    data = {"title": "Call\r\nAnna\u2028now\u202e"}
    proposal = {"item": "i-4", "verdict": "edit", "why": "shorter", "data": data}
    answer = await client.post("/v1/items/proposals", json={"proposals": [proposal]})
    assert answer.json()["results"][0]["state"] == "open", answer.text
    listed = {item["id"]: item for item in (await client.get("/v1/items?values=true")).json()["items"]}
    assert [one["data"] for one in listed["i-4"]["proposals"]] == [{"title": "Call Anna now"}]


async def test_unsent_verdict_is_undone_and_the_item_is_open_again(client: httpx2.AsyncClient) -> None:
    approval, undo = {"id": "i-0", "verdict": "approve"}, {"id": "i-0", "verdict": "undo"}
    for key in ("a", "a", "b"):  # a request that is repeated, and the same verdict given again
        (result,) = await give(client, approval, **{"Idempotency-Key": key})
        assert result["state"] == "pending"
    (result,) = await give(client, undo)
    assert result["state"] == "open"
    assert (await client.get("/v1/items/i-0")).json()["given"] is None
    (again, undone, other) = await give(client, approval, undo, {"id": "i-0", "verdict": "reject"})
    assert (again["state"], undone["state"], other["state"]) == ("pending", "open", "pending")


async def test_undo_of_a_verdict_before_the_newest_is_a_conflict(client: httpx2.AsyncClient) -> None:
    undo = {"id": "i-0", "verdict": "undo"}
    (first,) = await give(client, {"id": "i-0", "verdict": "approve"})
    assert (await client.get("/v1/items/i-0")).json()["given"]["created_at"] == first["created_at"]
    for undoes, state, code in (
        ("2026-01-01T00:00:00Z", None, "changed_meanwhile"),
        (first["created_at"], "open", None),
    ):
        (result,) = await give(client, undo | {"undoes": undoes})
        assert (result["state"], (result["error"] or {}).get("code")) == (state, code), undoes


async def test_a_verdict_on_another_version_is_a_conflict_with_the_version_now(
    client: httpx2.AsyncClient,
) -> None:
    data = {"title": "Call Anna"}
    (given,) = await give(client, {"id": "i-0", "verdict": "approve", "version": 1})
    assert given["state"] == "pending"
    for item, verdict, version, status in (
        ("i-0", {"verdict": "approve"}, 2, 409),  # given already, and on its way
        ("i-0", {"verdict": "undo"}, 2, 409),
        ("i-1", {"verdict": "approve"}, 2, 409),  # approved at the device
        ("i-1", {"verdict": "approve"}, 1, 409),
        ("i-1", {"verdict": "reject"}, 1, 409),  # a rejection after an approval
        ("i-1", {"verdict": "undo"}, 1, 409),
        ("i-2", {"verdict": "edit", "data": data}, 1, 409),  # changed at the device
        ("i-3", {"verdict": "edit", "data": data}, 1, 409),  # rejected there
        ("i-4", {"verdict": "edit", "data": data}, 9, 409),  # open
        ("i-9", {"verdict": "reject"}, 1, 404),  # deleted
    ):
        (refused,) = await give(client, {"id": item, "version": version, **verdict})
        error = refused["error"]
        assert (error["status"], error["version"]) == (status, 1 if status == 409 else None), (item, verdict)
    (again, undone) = await give(
        client,
        {"id": "i-0", "verdict": "approve", "version": 1},
        {"id": "i-0", "verdict": "undo", "version": 1},
    )
    assert (again["state"], undone["state"]) == ("pending", "open")


async def test_verdicts_are_attributed_to_the_token_in_item_audit_and_activity(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    scopes = [Scope.READ, Scope.REVIEW]
    async with (
        over_tcp(hub, await hub.token(Role.OPERATOR, scopes)) as phone,
        over_tcp(hub, await hub.token(Role.OPERATOR, scopes)) as watch,
        over_tcp(hub, await hub.token(Role.OPERATOR)) as other,
    ):
        asked = {"verdicts": [{"id": "i-0", "verdict": "approve"}]}
        refused = await other.post("/v1/items/verdicts", json=asked)
        assert (refused.status_code, "'review'" in refused.json()["detail"]) == (403, True)
        assert "--scope review" in refused.json()["hint"]
        await give(phone, {"id": "i-0", "verdict": "approve"}, {"id": "i-4", "verdict": "reject"})
        await give(watch, {"id": "i-4", "verdict": "undo"})
        await give(phone, {"id": "i-0", "verdict": "approve"})  # nothing new
        me = [(await one.get("/v1/me")).json()["actor"] for one in (phone, watch)]
    entries = (await client.get("/v1/audit", params={"event": "item.judged"})).json()["entries"]
    told = [(one["actor"], one["subject"], one["detail"]) for one in entries]
    assert told == [
        (me[1], "i-4", {"undo": 1, "items": "i-4"}),
        (me[0], None, {"approve": 1, "reject": 1, "items": "i-0 i-4"}),
    ]
    given = (await client.get("/v1/items/i-0")).json()["given"]
    assert (given["by"], given["actor"]) == ("token test", me[0])
    activity = (await client.get("/v1/activity", params={"event": "item.judged"})).json()["activity"]
    assert {(one["message"], one["actor"], one["device_id"]) for one in activity} == {
        ("token test took back the verdict on 1 item", me[1], "d-1"),
        ("token test approved 1, rejected 1 items", me[0], "d-1"),
    }


async def test_a_day_in_a_query_is_whole_in_the_zone_of_most_agents_of_the_user(hub: ServedHub) -> None:
    for name in "abcd":  # beside two in UTC
        await hub.agent(name, timezone="Asia/Tokyo")
    token = await hub.token(Role.VIEWER, user_id=hub.owner_id)
    async with over_tcp(hub, token) as client:
        for path in ("/v1/items?due_since=2026-12-04&due_until=2026-12-05", "/v1/runs?since=2026-12-04"):
            assert (await client.get(path)).status_code == 200
        shown = (await client.get("/v1/costs?since=2026-12-04&until=2026-12-05")).json()
        assert (shown["since"], shown["until"]) == ("2026-12-03T15:00:00Z", "2026-12-05T15:00:00Z")


WHY = "Ana did it on Monday."


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


async def results(client: httpx2.AsyncClient, path: str, asked: Sequence[Any]) -> Any:
    answer = await client.post(f"/v1/items/proposals{path}", json={"proposals": asked})
    return answer.raise_for_status().json()["results"]


async def propose(client: httpx2.AsyncClient, item: str, verdict: str, **more: Any) -> Any:
    (result,) = await results(client, "", [{"item": item, "verdict": verdict, "why": WHY, **more}])
    return result


async def proposals(client: httpx2.AsyncClient, item: str = "i-0") -> Any:
    return (await client.get(f"/v1/items/{item}")).json()["proposals"]


async def states(hub: ServedHub) -> dict[str, str]:
    rows = await hub.store.read(lambda c: c.execute(sa.select(table.c.id, table.c.state)).all())
    return {row.id: row.state for row in rows}


async def entries(client: httpx2.AsyncClient, event: str) -> list[tuple[str, dict[str, Any]]]:
    found = (await client.get("/v1/audit", params={"event": event})).json()["entries"]
    return [(one["actor"], one["detail"]) for one in found]


async def test_proposal_of_a_reader_is_accepted_by_the_owner_as_a_verdict(
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

    accepting = {"id": "i-0", "verdict": "approve", "version": 1, "proposal": made["id"], "data": data}
    refused = await reader.post("/v1/items/verdicts", json={"verdicts": [accepting]})
    assert refused.status_code == 403
    for wrong, code in (
        ({"verdict": "reject"}, "bad_params"),
        ({"data": {"title": "other"}}, "bad_params"),
        ({"data": {}}, "bad_params"),  # what is accepted was not shown to who accepts it
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


async def test_each_proposal_of_a_request_is_validated_with_a_separate_result(
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


async def test_proposer_has_a_single_open_proposal_per_item_and_withdraws_only_own_proposals(
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


async def test_proposals_are_limited_per_proposer_and_per_item(
    monkeypatch: pytest.MonkeyPatch, reader: httpx2.AsyncClient, other: httpx2.AsyncClient
) -> None:
    monkeypatch.setattr(item_proposals, "MAX_OPEN", 1)
    assert (await propose(reader, "i-0", "reject"))["state"] == "open"
    error = (await propose(reader, "i-4", "reject"))["error"]
    assert (error["code"], error["status"]) == ("limit_reached", 409)
    assert "withdraw some" in error["message"]
    assert (await propose(reader, "i-0", "approve"))["state"] == "open", "in place of the one before"
    assert (await propose(other, "i-4", "reject"))["state"] == "open"
    monkeypatch.setattr(item_proposals, "MAX_OPEN", 9)
    monkeypatch.setattr(item_proposals, "MAX_OF_ITEM", 1)
    error = (await propose(other, "i-0", "reject"))["error"]
    assert (error["code"], "has 1 open proposals" in error["message"]) == ("limit_reached", True)


async def test_proposal_on_a_marked_item_is_accepted_only_with_the_marked_grant(
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
    link.capabilities |= {CAPABILITY_OF[Action.ROWS_AGENDA]}
    (of_newer,) = await give(client, accepting)
    assert refused["error"]["code"] == of_newer["error"]["code"] == ErrorCode.NOT_GRANTED
    assert ["updated first" in one["error"]["message"] for one in (refused, of_newer)] == [True, False]
    assert await states(hub) == {made["id"]: "open"}
    link.owner_grants["review.remote"] = ["marked"]
    (given,) = await give(client, accepting)
    assert given["state"] == "pending"
    link.owner_grants["review.remote"] = []
    marks = sa.text("""UPDATE items SET warnings = '["missing"]' WHERE id = 'i-4'""")
    await hub.store.write(lambda c: c.execute(marks))
    detail = (await client.get("/v1/items/i-4")).json()
    assert (detail["warnings"], detail["needs_owner"]) == (["missing"], False)


async def test_proposals_end_when_the_item_changes_or_gets_a_verdict(
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
    anna_id = await hub.store.write(users.ensure_user, UserId("u-2"), "anna", 1)
    scopes = [Scope.READ, Scope.REVIEW]
    async with over_tcp(hub, await hub.token(Role.OPERATOR, scopes, user_id=anna_id)) as anna:
        assert (await propose(anna, "i-0", "reject"))["error"]["code"] == "unknown_item"
        (declined,) = await results(anna, "/declined", [made["id"]])
        assert declined["error"]["code"] == "unknown_item"
    assert len(await proposals(client)) == 1
