"""A gateway's methods: what each needs, what it may be given, and what it does."""

from typing import Any

from tests.support.gateway.chat import Chat, Refusal
from tests.support.gateway.office import FILES, Agent, Office, digest

READ, WRITE, ADMIN = "operator.read", "operator.write", "operator.admin"

# Each method: its scope, what it must be given and what it may be given.
METHODS: dict[str, tuple[str, set[str], set[str]]] = {
    "health": (READ, set(), {"probe"}),
    "agents.list": (READ, set(), set()),
    "agents.files.get": (READ, {"agentId", "name"}, set()),
    "agents.files.list": (READ, {"agentId"}, set()),
    "chat.history": (READ, {"sessionKey"}, {"limit", "offset", "inputRunIds", "pendingBefore"}),
    "chat.send": (
        WRITE,
        {"sessionKey", "message", "idempotencyKey"},
        {"deliver", "queueMode", "timeoutMs", "expectedLeafEntryId"},
    ),
    "chat.abort": (WRITE, {"sessionKey"}, {"runId"}),
    "agent.wait": (WRITE, {"runId"}, {"timeoutMs"}),
    "agents.create": (ADMIN, {"name"}, {"workspace"}),
    "agents.update": (ADMIN, {"agentId"}, {"name"}),
    "agents.delete": (ADMIN, {"agentId"}, {"deleteFiles"}),
    "agents.files.set": (ADMIN, {"agentId", "name", "content"}, {"expectedHash"}),
}


def check(method: str, params: dict[str, Any], scopes: list[str]) -> None:
    """Refuse what this client may not call, and what is not called so."""
    scope, needed, more = METHODS.get(method, (ADMIN, set(), set()))
    if scope not in _with_implied(scopes):
        details = {"code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope]}
        raise Refusal("FORBIDDEN", f"missing scope: {scope}", details=details)
    if method not in METHODS:
        raise Refusal("INVALID_REQUEST", f"unknown method: {method}")
    wrong = [f"must have required property '{key}'" for key in sorted(needed - params.keys())]
    wrong += [f"at root: unexpected property '{key}'" for key in sorted(params.keys() - needed - more)]
    if wrong:
        raise Refusal("INVALID_REQUEST", f"invalid {method} params: {'; '.join(wrong)}")


async def run(method: str, params: dict[str, Any], office: Office, chat: Chat) -> Any:
    """Do it, and give the payload of the answer."""
    agents = office.agents
    match method:
        case "health":
            return {"ok": True}
        case "agents.list":
            listed = [agent.frame() for agent in agents.values()]
            return {"defaultId": "main", "mainKey": "main", "scope": "per-sender", "agents": listed}
        case "agents.create":
            agent_id = str(params["name"]).lower()[:64]
            workspace = params.get("workspace", f"/state/workspace-{agent_id}")
            if agent_id in agents:
                raise Refusal("INVALID_REQUEST", f'agent "{agent_id}" already exists')
            agents[agent_id] = Agent(agent_id, workspace)
            return {
                "ok": True,
                "agentId": agent_id,
                "name": params["name"],
                "workspace": workspace,
            }
        case "agents.update":
            _agent(params, office)
            return {"ok": True, "agentId": params["agentId"]}
        case "agents.delete":
            del agents[_agent(params, office).id]
            return {"ok": True, "agentId": params["agentId"]}
        case "agents.files.get" | "agents.files.set" | "agents.files.list":
            return _files(method, params, office)
        case "chat.send":
            return chat.send(params)
        case "chat.abort":
            return {"ok": True, "aborted": chat.abort(params["sessionKey"])}
        case "chat.history":
            return chat.history(params)
        case _:
            assert method == "agent.wait"
            return await chat.wait(params["runId"], params.get("timeoutMs", 30_000) / 1000)


def _agent(params: dict[str, Any], office: Office) -> Agent:
    agent = office.agents.get(params["agentId"])
    if agent is None:
        raise Refusal("INVALID_REQUEST", f'agent "{params["agentId"]}" not found')
    return agent


def _files(method: str, params: dict[str, Any], office: Office) -> dict[str, Any]:
    agent = _agent(params, office)
    about = {"agentId": agent.id, "workspace": agent.workspace}
    if method == "agents.files.list":
        return about | {"files": [agent.file(name) for name in sorted(agent.files)]}
    name = params["name"]
    if name not in FILES:
        raise Refusal("INVALID_REQUEST", f'unsupported file "{name}"')
    if method == "agents.files.get":
        return about | {"file": agent.file(name)}
    current, expected = agent.files.get(name), params.get("expectedHash")
    if expected is not None and (current is None or digest(current) != expected):
        details = {"type": "agent_file_conflict", "name": name}
        details |= {} if current is None else {"currentHash": digest(current)}
        raise Refusal("INVALID_REQUEST", f'agent file "{name}" changed since it was read', details=details)
    agent.files[name] = params["content"]
    return {"ok": True} | about | {"file": agent.file(name)}


def _with_implied(scopes: list[str]) -> set[str]:
    implied = set(scopes)
    if ADMIN in implied:
        implied.add(WRITE)
    if WRITE in implied:
        implied.add(READ)
    return implied
