"""Audit entries of routes: each route that changes something writes the entry that it declares."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import sqlalchemy as sa

from hub.base.roles import AGENT, AUDITED, ROUTES, RouteKey
from storage import audit
from storage.audit import AuditRow
from tests.hub.api.test_items import keep
from tests.support.hub import ENDLESS, TEXT, ServedHub, answering, over_tcp, over_unix
from tests.support.identity import CODE
from tests.support.services import running

MORE = """
[[gateways]]
name = "home"
url = "ws://127.0.0.1:1"
[[connectors]]
name = "mail"
provider = "imap"
settings = { host = "imap.example.org", username = "ana@example.org" }
[[connectors]]
name = "letters"
provider = "gmail"
client_id = "hub"
"""
DENIED = "/sign-in/answer"  # the provider says that the person did not consent
PROJECT = "019b0000-0000-7000-8000-000000000000"
# Their entries need a gateway, a second node or a program of a device, and are looked at with these.
ELSEWHERE = {
    RouteKey("POST", "/v1/agents/{name}/preview"): "tests/scenarios/test_preview.py",
    RouteKey("POST", "/v1/authorizations"): "tests/hub/api/test_authorizations.py",
    RouteKey("POST", "/v1/devices/{device_id}/calls"): "tests/hub/api/test_device_calls.py",
    RouteKey("POST", "/v1/devices/{device_id}/calls/list-files"): "tests/hub/api/test_device_calls.py",
    RouteKey("POST", "/v1/devices/{device_id}/calls/read-file"): "tests/hub/api/test_device_calls.py",
    RouteKey("POST", "/v1/devices/{device_id}/places"): "tests/hub/api/test_device_calls.py",
    RouteKey("POST", "/v1/devices/{device_id}/keep"): "tests/scenarios/test_copied_key.py",
    RouteKey("POST", "/v1/devices/{device_id}/resync"): "tests/hub/api/test_identity.py",
    RouteKey("POST", "/v1/keys/share"): "tests/hub/cluster/test_shared_keys.py",
    RouteKey("POST", "/v1/notify/{target}/test"): "tests/hub/notify/test_routes.py",
    RouteKey("POST", "/v1/notify/deliveries/{delivery}/drop"): "tests/hub/notify/test_routes.py",
    RouteKey("POST", "/v1/notify/deliveries/{delivery}/retry"): "tests/hub/notify/test_routes.py",
    RouteKey("DELETE", "/v1/nodes/{node_id}"): "tests/hub/api/test_node_routes.py",
    RouteKey("POST", "/v1/nodes/{node_id}/drain"): "tests/hub/cluster/test_forwarded.py",
    RouteKey("PUT", "/v1/agent/boards/{board}/agents/{agent}/soul"): "tests/hub/coordination/test_souls.py",
    RouteKey("PUT", "/v1/boards/{board}/agents/{agent}/soul"): "tests/hub/coordination/test_souls.py",
}


# Verb, template of the path, body, and names in the path and the query.
Request = tuple[str, str, Any, Mapping[str, str]]
ON_DESK: Final = {"device": "desk", "paths": ["notes"], "prompt": "Find.", "data_types": ["tasks"]}


class Walk:
    """Requests to a hub, and the entries that each of them left under its caller."""

    def __init__(self, hub: ServedHub, operator: httpx2.AsyncClient) -> None:
        self.hub, self.operator = hub, operator
        self.caller, self.actor = operator, f"operator:{os.getuid()}"
        self.events: dict[RouteKey, set[str]] = {}

    async def __call__(self, verb: str, template: str, body: Any = None, /, **names: str) -> Any:
        path = template.format(**names)
        query = {name: value for name, value in names.items() if f"{{{name}}}" not in template}
        before = await self.last()
        answer = await self.caller.request(verb, path, json=body, params=query)
        assert answer.is_success or template.endswith(DENIED), (verb, path, answer.text)
        rows = await self.since(before)
        found = {row.event for row in rows if row.actor.startswith(self.actor) and row.outcome == "done"}
        self.events.setdefault(RouteKey(verb, template), set()).update(found)
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.json() if is_json else None

    async def all(self, requests: Iterable[Request]) -> None:
        for verb, template, body, names in requests:
            await self(verb, template, body, **names)

    async def last(self) -> int:
        return (await self.hub.store.read(audit.end_of_chain) or audit.START).seq

    async def since(self, seq: int) -> list[AuditRow]:
        return await self.hub.store.read(audit.list_entries, after=(seq,), oldest_first=True)

    @asynccontextmanager
    async def by(self, token: str, actor: str) -> AsyncIterator[None]:
        """Ask with a token in the block."""
        before = self.caller, self.actor
        async with over_tcp(self.hub, token) as self.caller:
            self.actor = actor
            yield
        self.caller, self.actor = before


_AGENT: Final = "/v1/agents/{name}"
_NOTES: Final = {"name": "notes"}
_FILE_READ: Final = _NOTES | {"capability": "file.read"}
AGENTS: Final[tuple[Request, ...]] = (
    ("POST", "/v1/agents", ON_DESK | {"name": "more"}, {}),
    ("POST", "/v1/agents", {"name": "free", "data_types": ["tasks"]}, {}),
    (
        "POST",
        "/v1/agents/as/{vocabulary}",
        {"name": "plan", "type": "PLANNER", "project_id": PROJECT},
        {"vocabulary": "orchestrator"},
    ),
    ("PATCH", _AGENT, {"description": "now"}, {"name": "more"}),
    ("POST", f"{_AGENT}/validate", {}, _NOTES),
    ("PATCH", f"{_AGENT}/config", {"configs": {"limit": {"value": 1}}}, _NOTES),
    ("PATCH", f"{_AGENT}/config", {"configs": {"limit": {"value": 2}}}, _NOTES),
    ("PUT", f"{_AGENT}/config", {"configs": {"limit": {"value": 5}}}, _NOTES),
    ("PUT", f"{_AGENT}/config/{{key}}", {"value": 3}, _NOTES | {"key": "limit"}),
    ("POST", f"{_AGENT}/config-revert", {"to": 1}, _NOTES),
    ("DELETE", f"{_AGENT}/config/{{key}}", None, _NOTES | {"key": "limit"}),
    ("PUT", f"{_AGENT}/capabilities/{{capability}}", {}, _FILE_READ),
    ("DELETE", f"{_AGENT}/capabilities/{{capability}}", None, _FILE_READ),
    ("PUT", f"{_AGENT}/capabilities/{{capability}}/{{version}}", {}, _FILE_READ | {"version": "1.0.0"}),
    ("DELETE", f"{_AGENT}/capabilities/{{capability}}/{{version}}", None, _FILE_READ | {"version": "1.0.0"}),
    ("PUT", f"{_AGENT}/checkpoints/{{scope}}", {"sequence": 9, "state": {}}, _NOTES | {"scope": "agent"}),
    ("DELETE", f"{_AGENT}/checkpoints/{{scope}}", None, _NOTES | {"scope": "agent"}),
    ("PATCH", f"{_AGENT}/status", {"availability": "on_call"}, _NOTES),
    (
        "PATCH",
        f"{_AGENT}/as/{{vocabulary}}",
        {"status": "MAINTENANCE"},
        _NOTES | {"vocabulary": "orchestrator"},
    ),
    ("POST", f"{_AGENT}/heartbeat", {}, {"name": "free"}),
    ("POST", f"{_AGENT}/locks", {"resources": ["printer", "door"]}, _NOTES),
    ("POST", f"{_AGENT}/locks/renew", {"fences": {"printer": 1}}, _NOTES),
    ("POST", f"{_AGENT}/locks/release", {"fences": {"printer": 1}}, _NOTES),
    ("POST", "/v1/locks/release", {"resource": "door"}, {}),
    ("POST", f"{_AGENT}/metrics", {"samples": [{"name": "pages", "value": 1}]}, _NOTES),
    ("POST", f"{_AGENT}/pause", None, _NOTES),
    ("POST", f"{_AGENT}/resume", None, _NOTES),
    (
        "POST",
        f"{_AGENT}/backfill",
        {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
        _NOTES,
    ),
    ("POST", f"{_AGENT}/terminate", None, {"name": "plan"}),
)


async def _runs(ask: Walk) -> None:
    run = (await ask("POST", "/v1/agents/{name}/runs", name="notes"))["id"]
    for word in ("pause", "resume", "cancel", "rerun"):
        await ask("POST", f"/v1/runs/{{run_id}}/{word}", run_id=run)


async def _people(ask: Walk) -> None:
    proposals = {"proposals": [{"item": "i-0", "verdict": "reject", "why": "done"}]}
    (first,) = (await ask("POST", "/v1/items/proposals", proposals))["results"]
    await ask("DELETE", "/v1/items/proposals/{proposal_id}", proposal_id=first["id"])
    (second,) = (await ask("POST", "/v1/items/proposals", proposals))["results"]
    key = (await ask("GET", "/v1/issues"))["issues"][0]["key"]
    requests: tuple[Request, ...] = (
        ("POST", "/v1/items/proposals/declined", {"proposals": [second["id"]]}, {}),
        ("POST", "/v1/items/verdicts", {"verdicts": [{"id": "i-0", "verdict": "approve"}]}, {}),
        ("POST", "/v1/issues/{key}/mute", {"reason": "known"}, {"key": key}),
        ("POST", "/v1/issues/{key}/unmute", None, {"key": key}),
        ("POST", "/v1/users", {"name": "anna"}, {}),
        ("GET", "/v1/users/{name}/rows", None, {"name": "anna"}),
        ("DELETE", "/v1/users/{name}", None, {"name": "anna"}),
        ("POST", "/v1/users", {"name": "bob"}, {}),
        ("POST", "/v1/users/{name}/erase", None, {"name": "bob"}),
    )
    await ask.all(requests)
    for template in ("/v1/tokens", "/v1/operator-tokens"):
        body = {"device": "desk"} if template == "/v1/tokens" else {"name": "test", "role": "admin"}
        token = await ask("POST", template, body)
        await ask("DELETE", f"{template}/{{token_id}}", token_id=token["id"])
    invitation = await ask("POST", "/v1/invitations", {})
    await ask("DELETE", "/v1/invitations/{invitation_id}", invitation_id=invitation["id"])
    link = await ask("POST", "/v1/sessions/links", {})
    async with ask.by(link["path"].partition("#")[2], "link:"):
        session = await ask("POST", "/v1/sessions")
        ask.actor, _ = "session:", ask.caller.headers.pop("authorization")  # its cookie is kept
        ask.caller.headers["x-hub-request"] = "1"
        await ask("DELETE", "/v1/sessions/current")
    await ask("DELETE", "/v1/sessions/{session_id}", session_id=session["id"])
    other = (await ask("POST", "/v1/sessions/links", {}))["id"]
    await ask("DELETE", "/v1/sessions/{session_id}", session_id=other)


async def _boards(ask: Walk) -> None:
    board, house = "/v1/boards/{board}", {"board": "house"}
    for name in ("house", "garden", "yard"):
        await ask("POST", "/v1/boards", {"name": name, "gateway": "home"})
    await ask("PATCH", board, {"description": "now"}, **house)
    await ask("POST", f"{board}/lead/ensure", board="garden", wait_s="0")
    for name in ("notes", "more"):
        await ask("POST", f"{board}/agents", {"agent": name}, **house)
    await ask("PUT", f"{board}/lead", {"agent": "notes"}, **house)
    text, now = {"content": "Is it red?"}, {"wait_s": "0"}
    item = (await ask("POST", f"{board}/memory", text, **house))["id"]
    await ask("DELETE", f"{board}/memory/{{memory_id}}", **house, memory_id=item)
    nudge = f"{board}/agents/{{agent}}/nudge"
    message = (await ask("POST", nudge, text, **house, agent="notes", **now))["id"]
    for word in ("cancel", "retry"):
        await ask("POST", f"/v1/messages/{{message_id}}/{word}", message_id=message)
    await ask("POST", f"{board}/lead/message", text, **house, **now)
    for word, body in (("answer", {"answer": "Yes."}), ("withdraw", None)):
        question = (await ask("POST", f"{board}/ask-user", text, **house))["id"]
        await ask("POST", f"/v1/questions/{{question_id}}/{word}", body, question_id=question)
    await _broadcast(ask, "/v1/broadcasts")
    tokens = {
        name: await ask("POST", "/v1/agents/{name}/tokens", {}, name=name)
        for name in ("notes", "free", "home-main")
    }
    own = "/v1/agent"
    async with ask.by(tokens["free"]["token"], "agent:"):
        await ask("POST", f"{own}/heartbeat", {})
    async with ask.by(tokens["notes"]["token"], "agent:"):
        await ask("POST", f"{own}/boards/{{board}}/memory", text, **house)
        await ask("POST", nudge.replace("/v1", own), text, **house, agent="more", **now)
        question = (await ask("POST", f"{own}/boards/{{board}}/ask-user", text, **house))["id"]
    async with ask.by(tokens["home-main"]["token"], "agent:"):
        answer = {"answer": "Yes."}
        await ask("POST", f"{own}/questions/{{question_id}}/answer", answer, question_id=question)
        await ask("POST", f"{own}/boards/{{board}}/lead/message", text, **house, **now)
        await ask("POST", f"{own}/boards/{{board}}/lead/ensure", board="yard", **now)
        await _broadcast(ask, f"{own}/broadcasts")
    await ask("DELETE", "/v1/agent-tokens/{token_id}", token_id=tokens["free"]["id"])
    await ask("DELETE", f"{board}/agents/{{agent}}", **house, agent="notes")
    await ask("DELETE", board, **house)
    await ask("DELETE", "/v1/agents/{name}", name="more")


async def _broadcast(ask: Walk, path: str) -> None:
    sent = await ask("POST", path, {"content": "Is it red?"}, wait_s="0")
    for message in (await ask.operator.get("/v1/messages")).json()["messages"]:
        if message["broadcast_id"] == sent["id"]:
            await ask.operator.post(f"/v1/messages/{message['id']}/cancel")
    await ask("POST", f"{path}/{{broadcast_id}}/resume", broadcast_id=sent["id"], wait_s="0")


_CONNECTOR: Final = "/v1/connectors/{connector}"
_MAIL: Final = {"connector": "mail"}
ACCOUNTS: Final[tuple[Request, ...]] = (
    ("POST", "/v1/gateways/{gateway}/agents", {"name": "adopted"}, {"gateway": "home"}),
    ("POST", "/v1/gateways/{gateway}/reconnect", None, {"gateway": "home"}),
    ("PUT", f"{_CONNECTOR}/password", {"password": "secret-word"}, _MAIL),
    ("POST", f"{_CONNECTOR}/test", None, _MAIL),
    ("POST", f"{_CONNECTOR}/retry", None, _MAIL),
    ("DELETE", f"{_CONNECTOR}/grant", None, _MAIL),
)


async def _sign_in(ask: Walk) -> None:
    begun = await ask("POST", f"{_CONNECTOR}/sign-in", {"way": "paste"}, connector="letters")
    state = httpx2.URL(begun["url"]).params["state"]
    denied = {"address": f"http://127.0.0.1/?state={state}&error=access_denied"}
    await ask("POST", f"{_CONNECTOR}/sign-in/answer", denied, connector="letters")


_FINDER: Final = {"name": "finder"}
SETTINGS: Final[tuple[Request, ...]] = (
    ("PATCH", "/v1/config", {"values": {"limits.runs": 5}}, {}),
    ("POST", "/v1/config/check", {"values": {"limits.runs": 7}}, {}),
    ("POST", "/v1/config/revert", {"generation": 1}, {}),
    ("PUT", "/v1/templates/{name}", {"prompt": "Find."}, _FINDER),
    ("PUT", "/v1/templates/{name}", {"prompt": "Find all."}, _FINDER),
    ("POST", "/v1/templates/{name}/validate", {}, _FINDER),
    ("DELETE", "/v1/templates/{name}", None, _FINDER),
    ("POST", "/v1/backups", None, {}),
)


async def _file_and_keys(ask: Walk) -> None:
    ask.hub.settings.write_text(ask.hub.settings.read_text().replace("runs = 4", "runs = 6"))
    await ask("POST", "/v1/reload")
    await ask("POST", "/v1/config/revisions", {"text": "[limits]\nrun_files = 50\n"})
    keys = (await ask("POST", "/v1/keys/rotate"))["keys"]
    await ask("DELETE", "/v1/keys/{key_id}", key_id=keys[-1]["id"])


async def _devices(ask: Walk) -> None:
    await ask.hub.asks("laptop")
    other = await ask.hub.asks("other", code="Q7QF-2M9X", key=b"o" * 32)
    device, of = "/v1/devices/{device_id}", {"device_id": (await ask.hub.device("desk")).id}
    requests: tuple[Request, ...] = (
        ("POST", "/v1/pairings/approve", {"code": CODE}, {}),
        ("POST", "/v1/pairings/{pairing_id}/deny", None, {"pairing_id": other.id}),
        ("PATCH", device, {"name": "table"}, of),
        ("POST", f"{device}/grant", {"add": ["connectors"]}, of),
        ("POST", f"{device}/kick", None, of),
        ("POST", f"{device}/revoke", None, of),
        ("GET", "/v1/debug/dump", None, {}),
        ("POST", "/v1/drain", None, {}),
    )
    await ask.all(requests)


async def _changes(hub: ServedHub) -> int:
    def read(c: sa.Connection) -> int:
        return int(c.execute(sa.text("SELECT total_changes()")).scalar_one())

    return await hub.store.write(read)


async def test_writing_routes_leave_their_declared_audit_entry_under_the_caller(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'hub.db'}"
    async with (
        answering(tmp_path, TEXT + MORE, database=database) as hub,
        over_unix(hub) as operator,
        running(hub.app.heartbeats),
    ):
        await hub.store.write(keep)
        ask = Walk(hub, operator)
        await ask.all(AGENTS)
        for part in (_runs, _people, _boards, _sign_in):
            await part(ask)
        await ask.all((*ACCOUNTS, *SETTINGS))
        await _file_and_keys(ask)
        await operator.get("/v1/issues")  # the hub notes new problems when it looks for them
        before = await _changes(hub)
        for asked, need in ROUTES.items():
            is_one = "{" in asked.path or asked.path in ENDLESS or need is AGENT
            if asked.method == "GET" and not AUDITED[asked] and not is_one:
                await operator.get(asked.path)
        assert await _changes(hub) == before  # none of these writes
        await _devices(ask)
        text = "".join(f"{row.subject}{row.detail}" for row in await ask.since(0))
    changing = {asked for asked, event in AUDITED.items() if event}
    missing = {
        asked for asked in changing - ELSEWHERE.keys() if AUDITED[asked] not in ask.events.get(asked, ())
    }
    assert sorted(missing) == []
    assert {asked: events for asked, events in ask.events.items() if not AUDITED[asked] and events} == {}
    # neither secrets nor words of people are in the log
    for secret in ("secret-word", "Is it red?", "hub_op_", "hub_agt_", "task 0"):
        assert secret not in text
