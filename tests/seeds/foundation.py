"""The foundation document: configs, states, capabilities and metrics of agents."""

from typing import Final

from protocol.lifecycles import RunState
from protocol.status_vocabularies import FoundationStatus
from tests.seeds.columns import furnish
from tests.seeds.walk import OF_WALK, Document, Walk

foundation = Document("foundation")
AS: Final = "agents/notes/as/foundation"
CAPABILITIES: Final = "agents/notes/capabilities"


@foundation("capability_name String(255), capability_version String(50)", lives="agent_capabilities")
@foundation("capability_version: default='1.0.0'", lives="PUT /v1/agents/{name}/capabilities/{capability}")
@foundation(
    "capability_version: default=1.0.0; enabled: default=True; config: default={}", lives="agent_capabilities"
)
@foundation("each agent can have multiple capability versions", lives="agent_capabilities")
async def a_capability_is_enabled_in_one_version_and_has_a_config(walk: Walk) -> None:
    await walk.put(f"{CAPABILITIES}/{'c' * 255}/1.0.0", {})
    await walk.refused("PUT", f"{CAPABILITIES}/{'c' * 256}/1.0.0", {}, status=422, says="1 to 255 letters")
    long = "1.0.0-" + "a" * 45
    await walk.refused("PUT", f"{CAPABILITIES}/c/{long}", {}, status=422, says="is no version")
    made = await walk.put(f"{CAPABILITIES}/file.read", {"description": "Reads files."})
    assert (made["capability"]["version"], made["capability"]["enabled"]) == ("1.0.0", True)
    own = await walk.ask("capabilities.put", agent_id="notes", name="file.write")
    assert own["capability"]["version"] == "1.0.0"
    put = await walk.cli("agents", "capabilities", "notes", "put", "file.list")
    assert put["capability"]["version"] == "1.0.0"
    await walk.refused("PUT", f"{CAPABILITIES}/no spaces", {}, status=422, says="1 to 255 letters")
    await walk.ask_refused(
        "capabilities.put", agent_id="notes", name="a", version="one", says="is no version"
    )
    made = await walk.put(
        f"{CAPABILITIES}/spot_migration/1.2.0", {"config": {"zone": "b"}, "description": "Moves."}
    )
    assert made["capability"]["enabled"]
    name = "spot_migration"
    (row,) = [one for one in (await walk.get(AS))["agent_capabilities"] if one["capability_name"] == name]
    assert (row["capability_name"], row["capability_version"], row["config"], row["description"]) == (
        "spot_migration",
        "1.2.0",
        {"zone": "b"},
        "Moves.",
    )
    await walk.put(f"{CAPABILITIES}/spot_migration/1.2.0", {"enabled": False})
    kept = [one for one in (await walk.get(AS))["agent_capabilities"] if one["capability_name"] == name]
    assert [one["enabled"] for one in kept] == [False]
    await walk.refused("PUT", f"{CAPABILITIES}/spot_migration/latest", {}, status=422, says="is no version")
    await walk.put(f"{CAPABILITIES}/file.read/1.0.0", {})
    assert not (await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.1", {}))["capability"]["enabled"]
    assert (await walk.put(f"{CAPABILITIES}/file.read/1.1.0", {}))["disabled"] == "1.0.0"
    asked = await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.2", {"enabled": True})
    assert asked["disabled"] == "1.1.0"


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
        assert ([row[column] for row in rows], rows) == (expected, document[table])
        await walk.refused("GET", f"{AS}/{table}?state=x", status=422, says=f"{table} is not filtered by it")
    says = "tables: agent_configs, agent_capabilities, agent_metrics"
    await walk.refused("GET", f"{AS}/agent_states", status=404, says=says)


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
        assert len((await walk.get("agents/as/foundation", capability=needed))["agents"]) == len(found)
    (listed,) = (await walk.cli("agents", "ls", "--capability", "file.read < 1.2"))["agents"]
    assert listed["name"] == "notes"
    says = "expected an operator"
    await walk.refusals(
        ("GET", "agents?capability=file.read%20about%202", None, 422, says),
        ("GET", "agents?capability=", None, 422, "query.capability: it is empty"),
        ("GET", f"agents?capability={'c' * 513}", None, 422, "query.capability"),
    )


@foundation("Human-readable description of this config", lives="agent_configs.description")
@foundation(
    "ConfigType: string, integer, float, boolean, json; config_value: stored as string",
    lives="agent_configs.config_type, agent_configs.config_value, PUT /v1/agents/{name}/config/{key}",
)
async def a_config_is_stored_as_text_with_its_type_and_description(walk: Walk) -> None:
    await walk.put("agents/notes/config/tone", {"value": "warm", "description": "How it sounds."})
    assert (await walk.get("agents/notes/config/tone"))["description"] == "How it sounds."
    assert [row["description"] for row in (await walk.get(AS))["agent_configs"]] == ["How it sounds."]
    await walk.refused(
        "PUT", "agents/notes/config/tone", {"value": "a", "description": 7}, status=422, says="text"
    )
    for key, value, stored, kind in (
        ("name", "warm", "warm", "string"),
        ("kv_cache_size", 512, "512", "integer"),
        ("threshold", 0.75, "0.75", "float"),
        ("is_on", True, "true", "boolean"),
        ("steps", ["a", 1], '["a",1]', "json"),
    ):
        await walk.put(f"agents/notes/config/{key}", {"value": value})
        (row,) = [one for one in (await walk.get(AS))["agent_configs"] if one["config_key"] == key]
        assert (row["config_value"], row["config_type"]) == (stored, kind)
        assert (await walk.get(f"agents/notes/config/{key}"))["value"] == value
    path = "agents/notes/config/kv_cache_size"
    await walk.refusals(
        ("PUT", path, {"value": "many"}, 422, "expected integer, not the text 'many'"),
        ("PUT", path, {"value": 7, "type": "date"}, 422, "type"),
        ("PUT", f"agents/notes/config/{'k' * 256}", {"value": 1}, 422, "255"),
    )
    default = "SELECT dflt_value FROM pragma_table_info('agent_configs') WHERE name = 'config_type'"
    assert await walk.sql(default) == [("'string'",)]


@foundation(
    "metadata: Additional state metadata; resource_usage: CPU, memory, default={}",
    lives="agent_states.metadata, agent_states.resource_usage",
)
@foundation(
    "active_workflows: List of currently active workflow IDs, default=[]", lives="runs.id, runs.state"
)
@foundation(
    "Monitor agent health metrics; last_activity: Last activity timestamp",
    lives="agent_states.last_activity_at",
)
async def the_state_of_an_agent_has_objects_its_live_runs_and_its_last_activity(walk: Walk) -> None:
    document = await walk.get(AS)
    assert (document["metadata"], document["resource_usage"]) == ({}, {})
    assert (await walk.patch(AS, {"metadata": {"shelf": 3}}))["metadata"] == {"shelf": 3}
    assert (await walk.get(AS))["metadata"] == {"shelf": 3}
    await walk.refusals(
        ("PATCH", AS, {"metadata": [3]}, 422, "metadata: expected an object"),
        ("PATCH", AS, {"resource_usage": {}} | {"id": "x"}, 422, "not written here"),
    )
    assert (await walk.get(AS))["active_workflows"] == []
    run = (await walk.post("agents/notes/runs"))["id"]
    assert (await walk.get(AS))["active_workflows"] == [run]
    await walk.post(f"runs/{run}/cancel")
    assert (await walk.get(AS))["active_workflows"] == []
    await walk.refused(
        "PATCH", AS, {"active_workflows": []} | {"id": "x"}, status=422, says="not written here"
    )
    before = (await walk.get(AS))["last_activity"]
    walk.hub.clock.advance(60)
    await walk.patch(AS, {"current_status": "error"})
    document = await walk.get(AS)
    assert document["last_activity"] == "2026-01-05T09:01:00.000Z" > before
    assert (document["current_status"], document["updated_at"]) == ("error", document["last_activity"])
    await walk.refused(
        "PATCH", AS, {"last_activity": "2026-01-05T09:00:30Z"}, status=422, says="not written here"
    )


@foundation("locks: Resource locks held by this agent, default={}", lives="agent_locks, locks.acquire")
@foundation("locks: Resource locks held by this agent, over REST", lives="POST /v1/agents/{name}/locks")
async def an_agent_takes_locks_renews_them_and_puts_them_back_over_rest(walk: Walk) -> None:
    assert (await walk.get(AS))["locks"] == {}
    held = await walk.ask("locks.acquire", agent_id="notes", resources=["printer"])
    assert (await walk.get(AS))["locks"]["printer"]["fence"] == held["fences"]["printer"]
    await walk.ask("locks.release", agent_id="notes", fences=held["fences"])
    assert (await walk.get(AS))["locks"] == {}
    await walk.ask_refused("locks.acquire", agent_id="notes", resources=[], says="1 to 16 locks")
    await walk.post("agents", {"name": "librarian"})
    held = await walk.post("agents/librarian/locks", {"resources": ["printer", "shelf"]})
    assert set(held["fences"]) == {"printer", "shelf"}
    locks = (await walk.get("agents/librarian/as/foundation"))["locks"]
    assert {name: lock["fence"] for name, lock in locks.items()} == held["fences"]
    assert locks["printer"]["holder"] == "agent librarian"
    taken = {"resources": ["shelf"]}
    await walk.refused("POST", "agents/notes/locks", taken, status=409, says="held by agent librarian")
    await walk.ask_refused("locks.acquire", agent_id="notes", resources=["shelf"], says="agent librarian")
    longer = await walk.post("agents/librarian/locks/renew", {"fences": held["fences"], "ttl_ms": 3_600_000})
    assert longer["until"] > held["until"]
    stale = {"fences": {"shelf": held["fences"]["shelf"] - 1 or 9}}
    await walk.refused("POST", "agents/librarian/locks/renew", stale, status=409, says="not held under fence")
    others = {"fences": held["fences"]}
    await walk.refusals(
        ("POST", "agents/notes/locks/release", others, 409, "is another's"),
        ("POST", "agents/notes/locks", {"resources": []}, 422, "resources"),
    )
    await walk.post("agents/librarian/locks/release", others)
    assert (await walk.get("agents/librarian/as/foundation"))["locks"] == {}
    await walk.post("agents/notes/locks", taken)
    await walk.post("agents/notes/terminate")
    assert (await walk.get("locks"))["locks"] == []
    await walk.refused("POST", "agents/notes/locks", taken, status=404, says="holds no locks")


@foundation(
    "MetricType: counter, gauge, histogram; default=GAUGE; tags", lives="metric_series, metrics.report"
)
async def a_metric_has_a_type_and_tags(walk: Walk) -> None:
    for name, more in (("mails", {}), ("reads", {"type": "counter"}), ("times", {"type": "histogram"})):
        sample: dict[str, object] = {
            "agent_id": "notes",
            "name": name,
            "value": 2,
            "tags": {"box": "in"},
        } | more
        await walk.ask("metrics.report", samples=[sample])
    rows = (await walk.get(AS))["agent_metrics"]
    assert [(one["metric_name"], one["metric_type"]) for one in rows] == [
        ("mails", "gauge"),
        ("reads", "counter"),
        ("times", "histogram"),
    ]
    assert {one["tags"]["box"] for one in rows} == {"in"} and {one["metric_value"] for one in rows} == {2.0}
    for wrong, says in (({"value": "x"}, "value: expected a number"), ({"value": 1, "type": "sum"}, "type")):
        refused = {"agent_id": "notes", "name": "mails"} | wrong
        await walk.ask_refused("metrics.report", samples=[refused], says=says)


@foundation("ForeignKey agents.id, ondelete=CASCADE; cascade=all, delete-orphan", lives="REFERENCES agents")
async def the_rows_of_an_agent_go_with_its_row(walk: Walk) -> None:
    await furnish(walk)
    tables = ("agent_configs", "agent_states", "agent_capabilities", "metric_series")
    await walk.delete("agents/mail")
    assert await walk.sql("SELECT deleted_at IS NOT NULL FROM agents WHERE name = 'mail'") == [(1,)]
    for table in tables:
        assert await walk.sql(f"SELECT count(*) > 0 FROM {table}") == [(1,)]
    kept = "SELECT count(*) FROM agent_state_history WHERE agent_id = :id"
    (old,) = await walk.sql("SELECT id FROM agents WHERE name = 'mail'")
    await walk.sql('UPDATE agent_states SET metadata = \'{"of": "before"}\' WHERE agent_id = :id', id=old[0])
    await walk.post("agents", {"name": "mail", "device": "desk", "config": {"depth": 2}} | OF_WALK)
    again = await walk.get("agents/mail/as/foundation")
    assert ([one["config_key"] for one in again["agent_configs"]], again["metadata"]) == (["depth"], {})
    assert again["agent_capabilities"] == []
    assert (await walk.get("agents/mail/as/orchestrator"))["agent_checkpoint"] is None
    assert again["agent_id"] == old[0] and await walk.sql(kept, id=old[0]) != [(0,)], "its history stays"
    await walk.sql("DELETE FROM agents WHERE name = 'mail'")
    for table in tables:
        orphans = f"SELECT count(*) FROM {table} WHERE agent_id NOT IN (SELECT id FROM agents)"
        assert await walk.sql(orphans) == [(0,)]
        foreign = f"UPDATE {table} SET agent_id = 'nobody'"
        if await walk.sql(f"SELECT 1 FROM {table} LIMIT 1"):
            await walk.sql_refused(foreign)


@foundation(
    "idx_agent_config_agent_key, idx_agent_state_agent, idx_agent_cap_agent_name",
    lives="primary keys and indexes that begin with agent_id",
    changed="an index of each single column as well costs a write each, and no question uses it",
)
async def the_rows_of_an_agent_are_found_by_an_index(walk: Walk) -> None:
    for query in (
        "SELECT * FROM agent_configs WHERE agent_id = 'a' AND config_key = 'k'",
        "SELECT * FROM agent_states WHERE agent_id = 'a'",
        "SELECT * FROM agent_capabilities WHERE agent_id = 'a' AND name = 'n'",
        "SELECT * FROM agent_capabilities WHERE enabled AND name = 'n'",
        "SELECT * FROM metric_series WHERE agent_id = 'a' AND name = 'n'",
    ):
        ((*_, plan),) = await walk.sql(f"EXPLAIN QUERY PLAN {query}")
        assert plan.startswith("SEARCH"), plan


@foundation(
    "alembic current, alembic upgrade head; def downgrade(): drop the tables in reverse order",
    lives="hub migrate status, up, verify; hub backup and restore, the way back",
)
async def the_tables_are_made_verified_and_taken_back(walk: Walk) -> None:
    await walk.cli_refused("migrate", "status", says="there are no tables yet")
    assert "applied: 0001" in await walk.text("migrate", "up")
    assert "up to date" in await walk.text("migrate", "status")
    assert "the tables match this release" in await walk.text("migrate", "verify")
    backup = str(walk.hub.folder / "before.backup")
    assert "before.backup" in await walk.text("backup", backup)
    (walk.hub.folder / "hub.db").unlink()
    await walk.text("restore", backup, "--yes")
    assert "the tables match this release" in await walk.text("migrate", "verify")


@foundation(
    "resource_usage: Current resource usage (CPU, memory, etc.); status of an agent that runs elsewhere",
    lives="POST /v1/agents/{name}/heartbeat, agent_states.resource_usage, agent_states.runs_executing",
)
async def an_agent_without_a_device_reports_its_status_and_resource_usage(walk: Walk) -> None:
    await walk.post("agents", {"name": "remote"})
    remote, beat = "agents/remote/as/foundation", "agents/remote/heartbeat"
    assert (await walk.get(remote))["current_status"] == "idle"
    for status in ("processing", "idle", "error"):
        await walk.post(beat, {"status": status, "resource_usage": {"cpu": 0.5, "memory": status}})
        document = await walk.get(remote)
        assert document["current_status"] == status
    assert document["resource_usage"] == {"cpu": 0.5, "memory": "processing"}  # written once a minute
    history = (await walk.get("agents/remote/history"))["moves"]
    for _ in range(5):
        await walk.post(beat, {"status": "error"})
    assert (await walk.get("agents/remote/history"))["moves"] == history
    assert {move["actor"] for move in history[:2]} == {f"agent:{(await walk.get('agents/remote'))['id']}"}
    await walk.refusals(
        *(
            ("POST", beat, wrong, 422, says)
            for wrong, says in (
                ({"resource_usage": [1]}, "resource_usage"),
                ({"resource_usage": {"log": "nul\0"}}, "null character"),
                ({"state_detail": "x" * 501}, "state_detail"),
                ({"exhaust_reason": "budget", "status": "exhausted"}, "exhaust_reason"),
                ({"agent_id": "other"}, "agent_id"),
            )
        )
    )


@foundation("AgentMetric: metric_name, metric_value, metric_type, tags, recorded_at", lives="agent_metrics")
async def metrics_of_an_agent_are_written_over_rest_by_the_rules_of_its_device(walk: Walk) -> None:
    sample = {"name": "mails", "value": 3.5, "type": "gauge", "tags": {"box": "in"}}
    report = {"samples": [sample, {"name": "done", "value": 1, "type": "counter"}], "report_id": "r-1"}
    path = "agents/notes/metrics"
    assert await walk.post(path, report) == {"taken": 2, "known": 0}
    assert await walk.post(path, report) == {"taken": 0, "known": 2}
    (row,) = [one for one in (await walk.get(AS))["agent_metrics"] if one["metric_name"] == "mails"]
    assert (row["metric_value"], row["metric_type"], row["tags"]) == (3.5, "gauge", {"box": "in"})
    await walk.ask("metrics.report", samples=[sample | {"agent_id": "notes", "value": 4}])
    for wrong, says in (
        ({"samples": [sample | {"value": "3"}]}, "value"),
        ({"samples": [sample | {"name": "hub.runs"}]}, "samples[0].name"),
        ({"samples": [sample | {"type": "counter"}]}, "gauge"),
        ({"samples": [sample] * 501}, "samples"),
        ({"samples": [sample], "mood": "good"}, "mood"),
    ):
        answer = await walk.send("POST", path, wrong)
        assert (400 <= answer.status_code < 500, says in answer.text) == (True, True), answer.text
    other = {"samples": [sample | {"agent_id": "mail"}]}
    await walk.refusals(
        ("POST", path, other, 404, "expected 'notes' as in the path"),
        ("POST", "agents/nobody/metrics", {"samples": [sample]}, 404, "nobody"),
    )
