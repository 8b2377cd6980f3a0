"""The foundation document: configs, states, capabilities and metrics of agents."""

from typing import Final

from protocol.lifecycles import RunState
from protocol.vocabularies import FoundationStatus
from tests.seeds.walk import OF_WALK, Document, Walk

foundation = Document("foundation")
AS: Final = "agents/notes/as/foundation"
CAPABILITIES: Final = "agents/notes/capabilities"


@foundation("each agent can have multiple capability versions", lives="agent_capabilities")
async def a_pre_release_is_enabled_only_when_it_is_asked_for(walk: Walk) -> None:
    await walk.put(f"{CAPABILITIES}/file.read/1.0.0", {})
    assert not (await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.1", {}))["capability"]["enabled"]
    assert (await walk.put(f"{CAPABILITIES}/file.read/1.1.0", {}))["disabled"] == "1.0.0"
    asked = await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.2", {"enabled": True})
    assert asked["disabled"] == "1.1.0"


@foundation("capability_name String(255), capability_version String(50)", lives="agent_capabilities")
async def names_and_versions_of_capabilities_have_the_lengths_of_the_document(walk: Walk) -> None:
    await walk.put(f"{CAPABILITIES}/{'c' * 255}/1.0.0", {})
    await walk.refused("PUT", f"{CAPABILITIES}/{'c' * 256}/1.0.0", {}, status=422, says="1 to 255 letters")
    long = "1.0.0-" + "a" * 45
    await walk.refused("PUT", f"{CAPABILITIES}/c/{long}", {}, status=422, says="is no version")


@foundation(
    "AgentConfig, AgentCapability, AgentMetric: rows of an agent",
    lives="GET /v1/agents/{name}/as/foundation/{table}",
)
async def configs_capabilities_and_metrics_are_read_in_pages(walk: Walk) -> None:
    names = [f"n-{number:02}" for number in range(12)]
    for name in names:
        await walk.put(f"agents/notes/config/{name}", {"value": name})
        await walk.put(f"{CAPABILITIES}/{name}/1.0.0", {})
        await walk.put(f"{CAPABILITIES}/{name}/1.1.0", {})
    samples = [{"agent_id": "notes", "name": name, "value": 1} for name in names]
    await walk.ask("metrics.report", samples=samples)
    document = await walk.get(AS)
    for table, column, expected in (
        ("agent_configs", "config_key", names),
        ("agent_capabilities", "capability_name", [name for name in names for _ in range(2)]),
        ("agent_metrics", "metric_name", names),
    ):
        rows = await walk.pages(f"{AS}/{table}", table, limit=5)
        assert [row[column] for row in rows] == expected
        assert rows == document[table]
        await walk.refused("GET", f"{AS}/{table}?state=x", status=422, says=f"{table} is not filtered by it")
    says = "tables: agent_configs, agent_capabilities, agent_metrics"
    await walk.refused("GET", f"{AS}/agent_states", status=422, says=says)


@foundation(
    "agents by current_status",
    lives="GET /v1/agents/as/foundation?status=, GET /v1/agents?as=foundation&status=",
)
async def agents_are_found_by_their_current_status(walk: Walk) -> None:
    for name in ("error", "idle", "processing", "waiting"):
        await walk.post("agents", {"name": name, "device": "desk"} | OF_WALK)
    await walk.patch("agents/error/as/foundation", {"current_status": "error"})
    for name in ("processing", "waiting"):
        await walk.hub.run(name, agent=name)
        if name == "processing":
            await walk.hub.move(name, RunState.RUNNING)
    for status in FoundationStatus:
        found = await walk.pages("agents/as/foundation", "agents", status=str(status))
        assert {one["current_status"] for one in found} <= {status}
        listed = await walk.pages("agents", "agents", status=str(status), **{"as": "foundation"})
        named = {"busy": [], "idle": ["idle", "notes"]}.get(status, [str(status)])
        assert [one["name"] for one in listed] == named
        assert [one["agent_id"] for one in found] == [one["id"] for one in listed]
    says = "foundation.current_status has no value 'on_call'; values: idle, busy, processing"
    await walk.refused("GET", "agents/as/foundation?status=on_call", status=422, says=says)


@foundation(
    "agents by capability: enabled versions",
    lives="agent_capabilities_name, GET /v1/agents?capability=, hub agents ls --capability",
)
async def agents_are_found_by_a_capability_and_its_version(walk: Walk) -> None:
    for name, version in (("mail", "1.3.0"), ("plan", "2.0.0-beta.1")):
        await walk.post("agents", {"name": name, "device": "desk"} | OF_WALK)
        await walk.put(f"agents/{name}/capabilities/file.read/{version}", {"enabled": True})
    await walk.put(f"{CAPABILITIES}/file.read/1.0.0", {})
    await walk.put(f"{CAPABILITIES}/file.read/1.2.0", {"enabled": False})
    for needed, found in (
        ("file.read", ["mail", "notes", "plan"]),
        ("file.read >= 1.2", ["mail", "plan"]),
        ("file.read >= 1.2, < 2", ["mail"]),
        ("file.read == 1.0", ["notes"]),
        ("file.read ^ 3", []),
        ("file.write", []),
    ):
        listed = await walk.pages("agents", "agents", capability=needed, limit=1)
        assert [one["name"] for one in listed] == found
        documents = await walk.get("agents/as/foundation", capability=needed)
        assert len(documents["agents"]) == len(found)
    (listed,) = (await walk.cli("agents", "ls", "--capability", "file.read < 1.2"))["agents"]
    assert listed["name"] == "notes"
    says = "expected an operator"
    await walk.refused("GET", "agents?capability=file.read%20about%202", status=422, says=says)
    await walk.refused("GET", "agents?capability=", status=422, says="begins with no name")
    await walk.refused("GET", f"agents?capability={'c' * 513}", status=422, says="query.capability")
