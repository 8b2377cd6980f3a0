"""Items of one thing over the REST interface: lists, counts, filters, verdicts and reports of devices."""

from functools import partial
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from hub.runs.repeated_items import repeats_in_report, waiting_rows
from protocol.ids import AgentId, CallId, DeviceId, RunId, UserId
from protocol.tables import TABLES
from storage import schema
from storage.agents import declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import users
from storage.effects import retention
from storage.runs import calls, item_verdicts, items
from storage.runs.calls import ReportedVerdict
from storage.runs.item_lists import ItemFilter
from storage.runs.item_verdicts import VerdictAnswer
from storage.runs.items import Decision, ItemRow
from tests.support.hub import ServedHub

OWN = {"origin": "own", "trusted": True}
MAIL = {"origin": "mail", "author": "Eve", "trusted": False}
FOUND = (  # title, path, author, marks
    ("Call Anna", "todo.txt", OWN, ()),
    ("call Anna", "old/journal.md", OWN, ()),
    ("call Anna", "m.eml", MAIL, ()),
    ("call Anna", "marked.md", OWN, ("instruction",)),
    ("call Anne", "other.md", OWN, ()),
)


def keep(c: sa.Connection) -> None:
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    declared = DeclaredAgent(name="inbox", device_name="lab", data_types=("tasks",))
    declared_agents.reconcile_declared(
        c, user_id=owner, declared=[declared], at=1, fresh_ids=["a-1", "d-1", "s-1", "u-1"]
    )
    c.execute(sa.update(schema.devices).where(schema.devices.c.id == "d-1").values(session_epoch=1))
    rows = [
        ItemRow(
            id=f"i-{n}",
            user_id=owner,
            agent_id=AgentId("a-1"),
            device_id=DeviceId("d-1"),
            unit_key=path,
            target_table="tasks",
            likeness=f"l-{n}",
            quote_hash=f"q-{n}",
            place_hash=f"q-{n}",
            config_fingerprint="f",
            data={"title": title},
            warnings=marks,
            call_id=CallId(f"c-{n}"),
            run_id=RunId("r-1"),
            source={"path": path, "quote": title, "start": 0, "end": 9, "provenance": by},
            row_id=f"row-{n}",
            answered_at=2_000,
            created_at=1_000 + n,
            updated_at=3_000,
            evidence="words",
        )
        for n, (title, path, by, marks) in enumerate(FOUND)
    ]
    items.write_items(c, [Decision(after=row) for row in rows])


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the items."""
    await hub.store.write(keep)


async def listed(client: httpx2.AsyncClient, **asked: Any) -> dict[str, list[str]]:
    """The listed items, each with those that are the same thing."""
    page = (await client.get("/v1/items", params={"verdict": "open", **asked})).raise_for_status().json()
    return {item["id"]: [other["id"] for other in item["also"]] for item in page["items"]}


async def give(client: httpx2.AsyncClient, id: str, verdict: str, *also: str) -> str:
    body = {"verdicts": [{"id": id, "verdict": verdict, "also": also}]}
    (result,) = (await client.post("/v1/items/verdicts", json=body)).raise_for_status().json()["results"]
    return str(result["state"] or result["error"]["code"])


async def given(client: httpx2.AsyncClient, id: str) -> tuple[str, str] | None:
    found = (await client.get(f"/v1/items/{id}")).json()["given"]
    return found and (found["verdict"], found["state"])


async def settle(hub: ServedHub, state: Any, at: int, reason: str | None = None) -> list[str]:
    """Let the device answer what is due with a state. Return the items of the answered verdicts."""

    def write(c: sa.Connection) -> list[str]:
        due = item_verdicts.due(c, DeviceId("d-1"), epoch=1, at=at, limit=9)
        ids = [verdict.id for verdict in due]
        item_verdicts.claim_sends(c, ids, epoch=1, at=at, again=at + 9)
        answers = [VerdictAnswer(id=id, state=state, reason=reason) for id in ids]
        settled = item_verdicts.settle(c, DeviceId("d-1"), answers, epoch=1, at=at)
        return [row.item_id for row in settled]

    return await hub.store.write(write)


async def test_items_of_a_repeated_thing_are_listed_and_counted_once(
    client: httpx2.AsyncClient,
) -> None:
    rest: dict[str, list[str]] = {"i-4": [], "i-3": [], "i-2": []}
    assert await listed(client) == {**rest, "i-1": ["i-0"]}
    assert await listed(client, each="true") == {**rest, "i-1": ["i-0"], "i-0": ["i-1"]}
    assert await listed(client, path="todo.txt") == {"i-0": ["i-1"]}, "also where the filter leaves it out"
    assert await listed(client, q="anna", path="todo.txt") == {"i-0": ["i-1"]}
    for id, other in (("i-0", "i-1"), ("i-1", "i-0")):
        detail = (await client.get(f"/v1/items/{id}")).json()
        assert [repeat["id"] for repeat in detail["also"]] == [other]
    assert await listed(client, text="nothing has this") == {}
    assert await listed(client, text="anna", path="old/") == {"i-1": ["i-0"]}
    counts = (await client.get("/v1/items/counts", params={"verdict": "open"})).json()
    every = (await client.get("/v1/items/counts", params={"verdict": "open", "each": "true"})).json()
    assert (counts["total"], every["total"]) == (4, 5)
    page = (await client.get("/v1/items")).json()["items"]
    assert len(page) == 5, "a list that asks for no verdict has each"


async def test_only_waiting_items_with_like_titles_are_read_whole(hub: ServedHub) -> None:
    assert [*await hub.store.read(waiting_rows, ItemFilter())] == ["i-3", "i-2", "i-1", "i-0"]


async def test_approval_settles_the_others_without_teaching_and_undo_brings_them_back(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    assert await give(client, "i-1", "approve", "i-0") == "pending"
    assert await given(client, "i-0") == ("reject", "pending")
    assert [await given(client, id) for id in ("i-2", "i-3", "i-4")] == [None] * 3
    assert await settle(hub, "approved", 5_000) == ["i-1"], "the other one waits for its answer"
    assert await settle(hub, "rejected", 5_001) == ["i-0"]
    assert await settle(hub, "rejected", 5_002) == []
    row, *_ = await hub.store.read(items.get_item, "i-0")
    assert (row.verdict, row.evidence, row.same_as) == ("rejected", "words", "i-1")
    kinds = await hub.store.read(items.decided_kinds, AgentId("a-1"))
    assert kinds.kinds == {("old", "words"): (1, 0)}
    judged = await hub.store.read(items.newest_judged, UserId("u"), AgentId("a-1"), ["rejected"], 9_000)
    assert judged == []

    assert await give(client, "i-1", "undo") == "pending"
    assert await settle(hub, "open", 5_003) == ["i-1"]
    assert await settle(hub, "open", 5_004) == ["i-0"]
    row, *_ = await hub.store.read(items.get_item, "i-0")
    assert (row.verdict, row.evidence, row.same_as) == ("open", "words", None)
    assert (row.source or {})["quote"] == "Call Anna"
    assert (await listed(client))["i-1"] == ["i-0"]


@pytest.mark.parametrize(
    ("verdict", "state"), [("reject", "rejected"), ("approve", "approved"), ("undo", "open")]
)
async def test_undo_of_an_approval_leaves_a_later_verdict_on_another_item_of_the_thing(
    hub: ServedHub, client: httpx2.AsyncClient, verdict: str, state: str
) -> None:
    await give(client, "i-1", "approve", "i-0")
    assert [await settle(hub, answer, 5_000) for answer in ("approved", "rejected")] == [["i-1"], ["i-0"]]
    for given_now, answer in (("undo", "open"), (verdict, state)):
        await give(client, "i-0", given_now)
        await settle(hub, answer, 5_001)
    assert await give(client, "i-1", "undo") == "pending"
    assert await settle(hub, "open", 5_002) == ["i-1"]
    assert await settle(hub, "open", 5_003) == []
    row, *_ = await hub.store.read(items.get_item, "i-0")
    assert row.verdict == state


async def test_words_of_the_others_are_deleted_with_their_old_verdicts(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await give(client, "i-1", "approve", "i-0")
    assert [await settle(hub, state, 5_000) for state in ("approved", "rejected")] == [["i-1"], ["i-0"]]
    assert await hub.store.write(partial(retention.prune_verdicts, before=5_001)) == 2
    assert await given(client, "i-0") is None


async def test_leading_approval_stays_until_the_repeats_are_settled(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await give(client, "i-1", "approve", "i-0")
    assert await settle(hub, "approved", 5_000) == ["i-1"]
    assert await hub.store.write(partial(retention.prune_verdicts, before=9_000)) == 0
    assert await settle(hub, "rejected", 9_001) == ["i-0"], "the device was away for long"
    row, *_ = await hub.store.read(items.get_item, "i-0")
    assert row.same_as == "i-1"
    assert await hub.store.write(partial(retention.prune_verdicts, before=9_002)) == 2


async def test_unsent_approval_is_undone_with_the_verdicts_on_the_others(client: httpx2.AsyncClient) -> None:
    for _ in range(2):
        assert await give(client, "i-0", "approve", "i-1") == "pending", "also of the one below"
        assert await given(client, "i-1") == ("reject", "pending")
        assert await give(client, "i-0", "undo") == "open"
        assert await given(client, "i-0") is await given(client, "i-1") is None


async def test_approval_settles_only_shown_items_of_the_same_thing(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    assert await give(client, "i-1", "approve", "i-2", "i-3", "i-4", "i-9") == "pending"
    assert [await given(client, id) for id in ("i-0", "i-2", "i-3", "i-4")] == [None] * 4
    assert await settle(hub, "approved", 5_000) == ["i-1"]
    assert await listed(client) == {id: [] for id in ("i-4", "i-3", "i-2", "i-0")}


async def test_two_approved_items_are_not_settled_by_each_other(
    client: httpx2.AsyncClient,
) -> None:
    both = [{"id": "i-1", "verdict": "approve", "also": ["i-0"]}]
    both += [{"id": "i-0", "verdict": "approve", "also": ["i-1"]}]
    answer = await client.post("/v1/items/verdicts", json={"verdicts": both})
    assert [result["state"] for result in answer.json()["results"]] == ["pending"] * 2
    assert [await given(client, id) for id in ("i-0", "i-1")] == [("approve", "pending")] * 2


async def test_refused_approval_leaves_the_others_waiting(hub: ServedHub, client: httpx2.AsyncClient) -> None:
    await give(client, "i-1", "approve", "i-0")
    assert await settle(hub, None, 5_000, "changed_meanwhile") == ["i-1"]
    assert await settle(hub, "rejected", 5_001) == []
    assert await given(client, "i-0") is None
    assert (await listed(client))["i-1"] == ["i-0"]


OWNER_REPORTS, FORGOTTEN, REVOKED = "the owner reports", "the device lost the row", "the device is revoked"
ENDS: tuple[tuple[str, str | None, dict[str, str], bool], ...] = (  # how, with what, values, is_freed
    ("answered", "approved", {}, True),
    ("answered", "edited", {}, True),
    ("answered", "rejected", {}, False),
    ("answered", "open", {}, False),
    ("answered", None, {}, False),
    ("answered behind a list", "approved", {}, False),
    (OWNER_REPORTS, "approved", {}, True),
    (OWNER_REPORTS, "approved", {"title": "Call Anna now"}, False),
    (OWNER_REPORTS, "edited", {}, False),
    (OWNER_REPORTS, "rejected", {}, False),
    (FORGOTTEN, None, {}, False),
    ("deleted", None, {}, False),
    (REVOKED, None, {}, False),
)


@pytest.mark.parametrize(("how", "state", "data", "is_freed"), ENDS)
async def test_only_an_effective_approval_rejects_the_others(
    hub: ServedHub,
    client: httpx2.AsyncClient,
    how: str,
    state: Any,
    data: dict[str, str],
    is_freed: bool,
) -> None:
    body = {"verdicts": [{"id": "i-1", "verdict": "approve", "data": data, "also": ["i-0"]}]}
    (result,) = (await client.post("/v1/items/verdicts", json=body)).raise_for_status().json()["results"]
    assert (result["state"], await given(client, "i-0")) == ("pending", ("reject", "pending"))

    def end(c: sa.Connection) -> None:
        desk = DeviceId("d-1")
        if how == OWNER_REPORTS:
            item_verdicts.overtake(c, desk, [ReportedVerdict(CallId("c-1"), state)], 5_000)
        elif how == REVOKED:
            item_verdicts.refuse_all(c, desk, 5_000)
        elif how in (FORGOTTEN, "deleted"):
            if how == FORGOTTEN:
                item_verdicts.withdraw_with(c, "i-1")
            c.execute(sa.delete(schema.items).where(schema.items.c.id == "i-1"))
        elif how == "answered behind a list":
            item_verdicts.note_listed(c, desk, {CallId("c-1"): 7})

    await hub.store.write(end)
    if how == "answered":
        assert await settle(hub, state, 5_000, None if state else "changed_meanwhile") == ["i-1"]
    elif how == "answered behind a list":

        def answer(c: sa.Connection) -> None:
            (due,) = item_verdicts.due(c, DeviceId("d-1"), epoch=1, at=5_000, limit=9)
            answers = [VerdictAnswer(id=due.id, state=state, counter=6)]
            item_verdicts.settle(c, DeviceId("d-1"), answers, epoch=1, at=5_000)

        await hub.store.write(answer)
    freed = await settle(hub, "rejected", 5_001)
    assert freed == (["i-0"] if is_freed else [])
    verdict = (await client.get("/v1/items/i-0")).json()["verdict"]
    assert verdict == ("rejected" if is_freed else "open")
    if not is_freed and how not in ("deleted", REVOKED):
        assert await given(client, "i-0") is None


async def test_item_with_an_open_verdict_joins_nothing(client: httpx2.AsyncClient) -> None:
    edit = {"id": "i-0", "verdict": "edit", "data": {"title": "Call Anna"}}
    (await client.post("/v1/items/verdicts", json={"verdicts": [edit]})).raise_for_status()
    assert await listed(client) == {f"i-{n}": [] for n in range(5)}
    await give(client, "i-1", "approve")
    assert [await given(client, id) for id in ("i-0", "i-1")] == [("edit", "pending"), ("approve", "pending")]


async def test_undo_waits_for_the_answer_to_a_verdict_on_another_item_of_the_thing(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await give(client, "i-1", "approve", "i-0")
    await settle(hub, "approved", 5_000)

    def send(c: sa.Connection) -> None:
        due = item_verdicts.due(c, DeviceId("d-1"), epoch=1, at=5_001, limit=9)
        item_verdicts.claim_sends(c, [row.id for row in due], epoch=1, at=5_001, again=5_002)

    await hub.store.write(send)
    assert await give(client, "i-1", "undo") == "verdict_under_way"
    assert await settle(hub, "rejected", 5_003) == ["i-0"]
    assert await give(client, "i-1", "undo") == "pending"


async def test_rejection_concerns_the_named_item_alone_and_teaches(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    await give(client, "i-1", "reject")
    assert await settle(hub, "rejected", 5_000) == ["i-1"]
    assert await given(client, "i-0") is None
    kinds = await hub.store.read(items.decided_kinds, AgentId("a-1"))
    assert kinds.kinds == {("old", "words"): (0, 1)}


async def test_repeat_reported_with_the_approved_item_does_not_teach(hub: ServedHub) -> None:
    report = [
        ReportedVerdict(CallId("c-0"), "rejected"),
        ReportedVerdict(CallId("c-1"), "approved"),
        ReportedVerdict(CallId("c-4"), "rejected"),
    ]

    def write(c: sa.Connection) -> dict[CallId, str]:
        repeats = repeats_in_report(c, DeviceId("d-1"), report, TABLES)
        calls.record_verdicts(c, DeviceId("d-1"), report, 5_000, repeats=repeats)
        return repeats

    assert await hub.store.write(write) == {"c-0": "i-1"}
    kinds = await hub.store.read(items.decided_kinds, AgentId("a-1"))
    assert kinds.kinds == {("", "words"): (0, 1), ("old", "words"): (1, 0)}
