"""Changes over an older reading, and things of another user: refused alike at the routes of all resources."""

from typing import Any

import httpx2
import pytest

from tests.hub.api.test_agent_configs import an_agent
from tests.hub.api.test_agents import MAIL, RESEARCHER
from tests.hub.api.test_gateway_routes import keep as keep_gateways
from tests.hub.api.test_lock_routes import keep as keep_locks
from tests.support.families import each
from tests.support.hub import ServedHub

TEMPLATE = "/v1/templates/researcher"
INBOX = "/v1/agents/inbox"
Asked = tuple[str, str, Any]


@pytest.fixture
async def question(hub: ServedHub, client: httpx2.AsyncClient) -> str:
    """Make a thing of each kind for the owner, and an agent of eve; return the id of a question."""
    for keep in (an_agent, keep_gateways, keep_locks):
        await hub.store.write(keep)
    await hub.agent("hers", user_id=await hub.user("eve"))
    await hub.run("r-1")
    await client.put(TEMPLATE, json=RESEARCHER)
    await client.post("/v1/boards", json={"name": "roses"})
    asked = await client.post("/v1/boards/roses/ask-user", json={"content": "Which colour?"})
    return str(asked.raise_for_status().json()["id"])


@pytest.mark.usefixtures("question")
@each(
    ("read", "first", "second"),
    [
        (INBOX, ("POST", f"{INBOX}/pause", None), ("POST", f"{INBOX}/resume", None)),
        (
            f"{INBOX}/status",
            ("PATCH", f"{INBOX}/status", {"health": "error"}),
            ("PATCH", f"{INBOX}/status", {"health": "ok"}),
        ),
        (
            f"{INBOX}/capabilities",
            ("PUT", f"{INBOX}/capabilities/web/1.0.0", {}),
            ("PUT", f"{INBOX}/capabilities/web/2.0.0", {}),
        ),
        (
            "/v1/boards/roses",
            ("PATCH", "/v1/boards/roses", {"description": "mine"}),
            ("DELETE", "/v1/boards/roses", None),
        ),
        ("/v1/runs/r-1", ("POST", "/v1/runs/r-1/pause", None), ("POST", "/v1/runs/r-1/cancel", None)),
        (TEMPLATE, ("PUT", TEMPLATE, RESEARCHER | {"description": "Reads."}), ("PUT", TEMPLATE, RESEARCHER)),
        (
            "/v1/devices/desk?user=owner",
            ("PATCH", "/v1/devices/desk?user=owner", {"name": "den"}),
            ("PATCH", "/v1/devices/den", {"name": "desk"}),
        ),
    ],
)
async def test_change_with_an_outdated_etag_is_refused(
    client: httpx2.AsyncClient, read: str, first: Asked, second: Asked
) -> None:
    tag = (await client.get(read)).headers["etag"]
    answers = []
    for method, path, body in (first, second):
        answers.append(await client.request(method, path, json=body, headers={"if-match": tag}))
    now = {"if-match": answers[0].headers.get("etag") or (await client.get(read)).headers["etag"]}
    answers.append(await client.request(second[0], second[1], json=second[2], headers=now))
    assert [answer.is_success for answer in answers] == [True, False, True], answers[0].text
    assert (answers[1].status_code, answers[1].json()["code"]) == (412, "changed_meanwhile")


UNKNOWN: list[tuple[str, str, Any, str]] = [
    ("GET", "/v1/boards/roses?user=eve", None, "unknown_board"),
    ("POST", "/v1/boards/roses/agents", {"agent": "hers"}, "unknown_agent"),
    ("GET", "/v1/questions/QUESTION?user=eve", None, "unknown_question"),
    ("POST", "/v1/questions/QUESTION/withdraw?user=eve", None, "unknown_question"),
    ("GET", f"{INBOX}/metrics?user=eve", None, "unknown_agent"),
    ("GET", f"{INBOX}/metrics/open?user=eve", None, "unknown_agent"),
    ("GET", f"{INBOX}/slots?user=eve", None, "unknown_agent"),
    ("PATCH", f"{INBOX}?user=eve", {"priority": 1}, "unknown_agent"),
    ("DELETE", f"{INBOX}?user=eve", None, "unknown_agent"),
    ("GET", "/v1/gateways/theirs?user=owner", None, "unknown_gateway"),
    ("POST", "/v1/gateways/theirs/reconnect?user=owner", None, "unknown_gateway"),
    ("POST", "/v1/gateways/theirs/agents?user=owner", {"name": "x"}, "unknown_gateway"),
    ("POST", "/v1/locks/release?user=owner", {"resource": "printer"}, "unknown_lock"),
    ("POST", "/v1/agents?user=eve", MAIL | {"device": "lab"}, "unknown_device"),
    ("POST", "/v1/agents?user=eve", MAIL | {"user": "owner"}, "unknown_user"),
]


@each(("method", "path", "body", "code"), UNKNOWN)
async def test_thing_of_another_user_is_unknown(
    client: httpx2.AsyncClient, question: str, method: str, path: str, body: Any, code: str
) -> None:
    answer = await client.request(method, path.replace("QUESTION", question), json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, code), answer.text
