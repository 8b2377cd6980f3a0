"""Tokens that are limited to devices, tables and shared folders: what is beyond does not exist for them."""

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx2
import pytest
import sqlalchemy as sa

from hub.api.application import ANSWERED
from hub.base.roles import LIMITED, PUBLIC, ROUTES, RouteKey, Scope, roles_that_may
from protocol.ids import AgentId, CallId, DeviceId, RunId
from protocol.lifecycles import RunState
from storage.agents import agents, declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.audit import list_entries
from storage.devices import devices, users
from storage.runs import items
from storage.runs.items import Decision, ItemRow
from storage.schema import agents as agent_table
from storage.schema import operator_tokens
from tests.support.families import each
from tests.support.hub import ENDLESS, ServedHub, over_tcp

DESK: Final = {"devices": ["desk"]}
TASKS: Final = {"tables": ["tasks"]}
NOTES: Final = {"roots": ["notes"]}
# item: agent, table, path
ITEMS: Final = {
    "i-own": ("notes", "tasks", "notes/own.md"),
    "i-table": ("notes", "notes", "notes/own.md"),
    "i-root": ("notes", "tasks", "notes2/work.md"),
    "i-mail": ("mails", "tasks", "notes/mail.md"),
    "i-attic": ("secretary", "tasks", "notes/attic.md"),
}
BODIES: Final[Mapping[tuple[str, str], dict[str, Any]]] = {
    ("PATCH", "/v1/devices/{device_id}"): {"name": "mine-now"},
    ("POST", "/v1/devices/{device_id}/grant"): {"add": ["connectors"]},
    ("POST", "/v1/devices/{device_id}/keep"): {"machine": "10.0.0.7"},
    ("POST", "/v1/devices/{device_id}/calls"): {"table": "tasks"},
    ("POST", "/v1/devices/{device_id}/calls/list-files"): {"folder": "notes"},
    ("POST", "/v1/devices/{device_id}/calls/read-file"): {"path": "notes/a.md"},
}
SECRETS: Final = ("attic", "secretary", "r-attic")


def _keep(c: sa.Connection) -> None:
    owner = users.find_user_by_name(c, users.OWNER)
    assert owner is not None
    for name, device, ids in (("secretary", "attic", "1234"), ("mails", "desk", "5678")):
        agent = DeclaredAgent(name=name, device_name=device, data_types=("tasks",))
        fresh_ids = [f"{name}-{id}" for id in ids]
        declared_agents.insert_agent(
            *(
                c,
                AgentId(fresh_ids[0]),
                agent,
                devices.ensure_device(c, id=DeviceId(fresh_ids[1]), user_id=owner.id, name=device, at=1),
            ),
            user_id=owner.id,
            source="api",
            at=1,
            actor="hub",
        )
    c.execute(sa.update(agent_table).where(agent_table.c.name == "mails").values(executor="connector"))
    rows = []
    for n, (id, (name, table, path)) in enumerate(ITEMS.items()):
        agent_row = agents.agent_called(c, name, None)
        times: Any = dict.fromkeys(("answered_at", "created_at", "updated_at"), 1_000 + n)
        hashes: Any = dict.fromkeys(("likeness", "quote_hash", "place_hash", "config_fingerprint"), id)
        rows.append(
            ItemRow(
                id=id,
                user_id=owner.id,
                agent_id=agent_row.id,
                device_id=agent_row.device_id,
                unit_key=path,
                target_table=table,
                data={"title": f"task {id}"},
                call_id=CallId(f"c-{id}"),
                run_id=RunId("r-1"),
                row_id=f"row-{id}",
                **hashes,
                **times,
            )
        )
    items.write_items(c, [Decision(after=row) for row in rows])


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store items and runs of two devices."""
    await hub.store.write(_keep)
    await hub.run("r-desk", RunState.CANCELLED)
    await hub.run("r-attic", RunState.CANCELLED, agent="secretary")


async def _limited(client: httpx2.AsyncClient, limits: dict[str, list[str]], **more: Any) -> httpx2.Response:
    body = {"name": "assistant", "role": "admin", "scopes": list(Scope), "limits": limits}
    return await client.post("/v1/operator-tokens", json=body | more)


@each(
    ("limits", "seen"),
    [
        (DESK, {"i-own", "i-table", "i-root", "i-mail"}),
        (TASKS, {"i-own", "i-root", "i-mail", "i-attic"}),
        (NOTES, {"i-own", "i-table", "i-attic"}),
        (DESK | TASKS | NOTES, {"i-own"}),
        (
            {"devices": ["desk", "attic"], "tables": ["tasks", "notes"], "roots": ["notes", "notes2"]},
            {*ITEMS} - {"i-mail"},
        ),
        ({"tables": ["secrets"]}, set()),
    ],
)
async def test_items_beyond_the_limits_are_absent_everywhere(
    hub: ServedHub, client: httpx2.AsyncClient, limits: dict[str, list[str]], seen: set[str]
) -> None:
    made = (await _limited(client, limits)).json()
    async with over_tcp(hub, made["token"]) as limited:
        for asked in ({}, {"q": "task"}, {"verdict": "open"}, {"path": "notes/"}, {"detail": "true"}):
            listed = {one["id"] for one in (await limited.get("/v1/items", params=asked)).json()["items"]}
            every = {one["id"] for one in (await client.get("/v1/items", params=asked)).json()["items"]}
            assert listed == every & seen, asked
        counts = (await limited.get("/v1/items/counts")).json()
        assert (counts["total"], sum(counts["tables"].values())) == (len(seen), len(seen))
        assert set(counts["tables"]) == {ITEMS[id][1] for id in seen}
        for id in ITEMS:
            status = (await limited.get(f"/v1/items/{id}")).status_code
            verdict = await limited.post(
                "/v1/items/verdicts", json={"verdicts": [{"id": id, "verdict": "reject"}]}
            )
            proposal = {"proposals": [{"item": id, "verdict": "reject", "why": "done"}]}
            proposed = await limited.post("/v1/items/proposals", json=proposal)
            found = [answer.json()["results"][0]["error"] for answer in (verdict, proposed)]
            is_known = [error is None or error["code"] != "unknown_item" for error in found]
            assert (status, is_known) == ((200, [True, True]) if id in seen else (404, [False, False])), id


def _asked_within(limits: dict[str, list[str]]) -> list[RouteKey]:
    return [asked for asked in ROUTES if roles_that_may(ROUTES[asked]) and limits.keys() <= LIMITED[asked]]


@each("limits", [DESK, TASKS, NOTES, DESK | TASKS | NOTES])
async def test_limited_token_is_refused_at_routes_ignoring_the_limits(
    hub: ServedHub, client: httpx2.AsyncClient, limits: dict[str, list[str]]
) -> None:
    made = (await _limited(client, limits)).json()
    allowed = _asked_within(limits)
    async with over_tcp(hub, made["token"]) as limited:
        for asked in ROUTES:
            if asked in allowed or not roles_that_may(ROUTES[asked]) or ROUTES[asked] is PUBLIC:
                continue
            answer = await limited.request(asked.method, re.sub(r"[{}]", "", asked.path))
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (403, "forbidden"), asked
            kinds = sorted(limits.keys() - LIMITED[asked])
            assert problem["detail"].endswith(f"this token's limits: {', '.join(kinds)}"), problem


async def test_limited_token_cannot_distinguish_a_foreign_from_an_unknown_device(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    made = (await _limited(client, DESK)).json()
    attic = (await client.get("/v1/devices/attic")).json()["id"]
    theirs = {"name": "secretary", "device_id": attic, "run_id": "r-attic", "item_id": "i-attic"}
    asked_with = [{}, {"device": "attic"}, {"agent": "secretary"}, {"run": "r-attic"}]
    async with over_tcp(hub, made["token"]) as limited:
        for asked in (one for one in _asked_within(DESK) if "{" in one.path and "docs" not in one.path):
            answers = []
            for ids in (theirs, dict.fromkeys(theirs, "nothing")):
                path = asked.path.format_map({"proposal_id": "p", "topic": "access"} | ids)
                answer = await limited.request(asked.method, path, json=BODIES.get(asked))
                text = answer.text
                for id in sorted(ids.values(), key=len, reverse=True):
                    text = text.replace(id, "ID")
                answers.append((answer.status_code, text))
            assert answers[0] == answers[1] and answers[0][0] == 404, (asked, answers)
        for asked in (one for one in _asked_within(DESK) if one.method == "GET" and "{" not in one.path):
            if asked.path in ("/docs", "/v1/openapi.json", "/v1/config/schema", "/v1/routes", *ENDLESS):
                continue
            takes = {part.name for part in ANSWERED[asked].binding.parts}
            for params in asked_with:
                if params.keys() <= takes:
                    answer = await limited.get(asked.path, params=params)
                    body = answer.text.replace("'attic'", "").replace("'secretary'", "")
                    assert not [word for word in SECRETS if word in body], (asked, params, body)
        assert [one["id"] for one in (await limited.get("/v1/runs")).json()["runs"]] == ["r-desk"]
        assert (await limited.get("/v1/runs/counts")).json()["total"] == 1
        assert [one["name"] for one in (await limited.get("/v1/agents")).json()["agents"]] == [
            "mails",
            "notes",
        ]
        assert (await limited.post("/v1/agents/notes/runs")).status_code == 202
        held = await client.post("/v1/agents/secretary/locks", json={"resources": ["printer"]})
        assert held.is_success, held.text
        waits = (await limited.post("/v1/agents/notes/runs", json={"locks": ["printer"]})).json()
        shown = (await limited.get(f"/v1/runs/{waits['id']}")).json()
        assert waits["waiting_for"] == shown["waiting_for"] == "waits for lock printer"
        assert "secretary" in (await client.get(f"/v1/runs/{waits['id']}")).json()["waiting_for"]
        node = await limited.get("/v1/devices", headers={"hub-node": "node"})
        assert (node.status_code, node.json()["code"]) == (403, "forbidden")


@each(
    ("limits", "status"),
    [
        ({}, 403),
        (DESK, 403),
        (TASKS | NOTES, 403),
        ({"devices": ["desk"], "tables": ["tasks", "notes"]}, 403),
        ({"devices": ["attic"], "tables": ["tasks"]}, 404),
        (DESK | TASKS, 201),
        (DESK | TASKS | NOTES, 201),
        ({"roots": ["a/b"]}, 422),
    ],
)
async def test_limited_token_cannot_create_a_token_with_wider_limits(
    hub: ServedHub, client: httpx2.AsyncClient, limits: dict[str, list[str]], status: int
) -> None:
    made = (await _limited(client, DESK | TASKS)).json()
    assert made["limits"] == {"devices": ["desk"], "tables": ["tasks"], "roots": []}
    async with over_tcp(hub, made["token"]) as limited:
        assert (await _limited(limited, limits)).status_code == status
        me = (await limited.get("/v1/me")).json()
        assert (me["limits"], me["scopes"]) == (made["limits"], list(Scope))
    listed = (await client.get("/v1/operator-tokens")).json()["tokens"]
    (row,) = [one for one in listed if one["id"] == made["id"]]
    assert (row["limits"], row["scopes"]) == (made["limits"], sorted(Scope))


async def test_limited_token_follows_a_renamed_device_and_stores_no_legacy_scopes(
    hub: ServedHub, client: httpx2.AsyncClient
) -> None:
    made = (await _limited(client, DESK)).json()
    assert (await _limited(client, {}, scopes=["read", "rows"])).json()["scopes"] == ["read", "rows"]
    stored = await hub.store.read(lambda c: c.execute(sa.select(operator_tokens.c.scopes)).scalars().all())
    assert stored == [[], []], "a hub of release 0.2 reads this column alone, and knows no scope rows"
    _, entry = await hub.store.read(list_entries, event="operator_token.created")
    assert "i-own" not in str(entry.detail) and '"devices"' in str(entry.detail)
    assert (await client.patch("/v1/devices/desk", json={"name": "laptop"})).status_code == 200
    assert (await client.patch("/v1/devices/attic", json={"name": "desk"})).status_code == 200
    async with over_tcp(hub, made["token"]) as limited:
        names = [one["name"] for one in (await limited.get("/v1/devices")).json()["devices"]]
        assert (names, (await limited.get("/v1/me")).json()["limits"]["devices"]) == (["laptop"], ["laptop"])
