"""Approved tasks over the REST interface, as a device answers that other people wrote."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from protocol.agenda import NO_DAY
from protocol.capabilities import CapabilityName
from protocol.ids import UserId
from protocol.tool_calls import Answer
from storage.devices.credential_copies import Origin
from storage.devices.users import ensure_user
from storage.schema import devices
from tests.hub.api.test_items import keep
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp, over_unix

BEGIN: Final = "2026-11-28T00:00:00Z"


def row(place: int = 1, table: str = "tasks", row_id: str | None = None, **data: Any) -> dict[str, Any]:
    values = {"title": "x", "status": "todo", "updatedAt": 1, **data}
    return {"table": table, "row_id": row_id or f"r-{place}", "place": place, "data": values, "seen_row": "s"}


@pytest.fixture
def answer() -> dict[str, Any]:
    """Next answer of the device."""
    return {}


@pytest.fixture
async def page(hub: ServedHub, answer: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """Client of the page of the owner of a connected device."""
    device = await hub.device("desk")
    link = await hub.connect(
        device,
        capabilities=[CapabilityName.ROWS_AGENDA],
        answers=lambda call: Answer(
            result=answer["next"](call) if callable(answer["next"]) else answer["next"]
        ),
    )
    link.owner_grants["rows.read"] = ["tasks", "timelines"]
    async with over_tcp(hub) as client, over_unix(hub) as local:
        made = (await local.post("/v1/sessions/links", json={"owner_of": "desk"})).json()
        secret = made["path"].partition("#")[2]
        opened = await client.post("/v1/sessions", headers={"authorization": f"Bearer {secret}"})
        assert opened.status_code == 201, opened.text
        yield client


async def listed(client: httpx2.AsyncClient, **asked: Any) -> tuple[str, list[str], str | None]:
    """The state of the device, the rows of a page, and the cursor of the next."""
    answer = await client.get("/v1/tasks", params={"begin": BEGIN, **asked})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (device,) = body["devices"]
    return device["state"], [task["row_id"] for task in body["tasks"]], body["next_cursor"]


_NO_STAMP: Final = {"table": "tasks", "row_id": "r-1", "place": 1, "data": {"title": "x"}, "seen_row": "s"}


@each(
    ("answered", "state", "rows"),
    [
        ({"rows": [row(2), row(1)]}, "present", ["r-1", "r-2"]),
        ({"rows": [row(1, title=["x"], dueDate="friday")]}, "present", ["r-1"]),
        ({"rows": [row(1, dueDate=2**53)]}, "present", ["r-1"]),
        ({"rows": [row(1), row(1), row(2, row_id="r-1")]}, "present", ["r-1"]),
        ({"rows": [row(n) for n in range(1, 9)]}, "present", ["r-1", "r-2", "r-3"]),
        ({"rows": [row(1, table="nope")]}, "unanswered", []),
        ({"rows": [row(1, table="projects")]}, "unanswered", []),
        ({"rows": [_NO_STAMP]}, "unanswered", []),
        ({"rows": [row(1, updatedAt="soon")]}, "unanswered", []),
        ({"rows": [row(1, updatedAt=-1)]}, "unanswered", []),
        ({"rows": [row(NO_DAY + 1)]}, "unanswered", []),
        ({"rows": [row(1)] * 1_001}, "unanswered", []),
        ({"rows": [{"place": 1}]}, "unanswered", []),
        ([1], "unanswered", []),
        (None, "unanswered", []),
    ],
)
async def test_answer_of_a_device_costs_the_page_only_rows_of_the_device(
    page: httpx2.AsyncClient, answer: dict[str, Any], answered: Any, state: str, rows: list[str]
) -> None:
    answer["next"] = answered
    assert (await listed(page, limit=3))[:2] == (state, rows)


@each(
    ("answered", "rows"),
    [
        (lambda _: {"rows": [row(1)], "more": True}, ["r-1"]),
        (lambda _: {"rows": [], "more": True}, []),
        (lambda call: {"rows": [row(call.data["place"], row_id="r-0")], "more": True}, ["r-0"]),
        (
            lambda call: {"rows": [row(n) for n in range(1, 9) if n > call.data["place"]]},
            [f"r-{n}" for n in range(1, 9)],
        ),
    ],
)
async def test_pages_of_a_device_claiming_further_rows_end(
    page: httpx2.AsyncClient, answer: dict[str, Any], answered: Any, rows: list[str]
) -> None:
    answer["next"] = answered
    _, found, cursor = await listed(page, limit=3)
    for _ in range(9):
        if cursor is not None:
            _, more, cursor = await listed(page, limit=3, cursor=cursor)
            found += more
    assert (cursor, found) == (None, rows)


@pytest.mark.parametrize("users", [1, 2])
async def test_only_user_reads_present_values_over_the_socket_of_the_hub_alone(
    page: httpx2.AsyncClient, hub: ServedHub, answer: dict[str, Any], users: int
) -> None:
    answer["next"] = {"rows": [row(1)]}
    if users == 2:
        await hub.store.write(lambda c: ensure_user(c, UserId("u-2"), "bob", 1))
    async with over_unix(hub) as local:
        found = (await local.get("/v1/tasks", params={"begin": BEGIN})).json()
    states = {device["name"]: device["state"] for device in found["devices"]}
    assert states["desk"] == ("present" if users == 1 else "not_owner")
    assert [task["row_id"] for task in found["tasks"]] == (["r-1"] if users == 1 else [])


def set_origin(c: sa.Connection, origin: Origin) -> None:
    """Let all devices have connected from there last."""
    c.execute(sa.update(devices).values(origin=msgspec.json.encode(origin).decode()))


async def test_known_row_of_an_absent_device_has_a_digest_of_the_device(hub: ServedHub) -> None:
    await hub.store.write(keep)
    for origin, length in ((Origin(takes_sha256=True), 64), (Origin(), 32)):
        await hub.store.write(set_origin, origin)
        async with over_unix(hub) as client:
            found = (await client.get("/v1/tasks", params={"begin": BEGIN})).json()
        assert {len(task["seen_row"]) for task in found["tasks"]} == {length}
