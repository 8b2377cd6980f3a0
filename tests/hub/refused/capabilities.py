"""Refused at capabilities and needs."""

from tests.hub.refused.row import Device, Refused, Rest

ABLE = "/v1/agents/able/capabilities"
NOTES = "/v1/agents/notes/capabilities"
SETTINGS = """
[[agents]]
name = "able"
device = "phone"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
capabilities = [{ name = "file.read", version = "1.2.0" }]
"""

ROWS = (
    Refused(
        "a-capability-in-no-version",
        Rest("PUT", f"{NOTES}/file.read/1.2", {}),
        "bad_params",
        ("'1.2' is no version", "three numbers", "1.4.0"),
    ),
    Refused(
        "a-capability-with-a-version-that-begins-with-zero",
        Device("capabilities.put", {"agent_id": "notes", "name": "web", "version": "01.0.0"}),
        "bad_params",
        ("'01.0.0' is no version",),
    ),
    Refused(
        "a-capability-with-a-blank-in-its-name",
        Device("capabilities.put", {"agent_id": "notes", "name": "read files", "version": "1.0.0"}),
        "bad_params",
        ("'read files' cannot be the name of a capability", "as in file.read"),
    ),
    Refused(
        "a-capability-in-a-version-that-is-no-text",
        Device("capabilities.put", {"agent_id": "notes", "name": "web", "version": 1}),
        "bad_params",
        ("version: ",),
    ),
    Refused(
        "a-capability-with-a-config-that-is-no-object",
        Rest("PUT", f"{NOTES}/web/1.0.0", {"config": ["fast"]}),
        "bad_params",
        ("config",),
    ),
    Refused(
        "a-capability-with-a-config-that-no-database-keeps",
        Rest("PUT", f"{NOTES}/web/1.0.0", {"config": {"deep": [{"name": "a\0b"}]}}),
        "bad_params",
        ("config: a null character", "leave it out"),
    ),
    Refused(
        "a-capability-with-a-config-that-is-too-long",
        Rest("PUT", f"{NOTES}/web/1.0.0", {"config": {"text": "x" * 20_000}}),
        "too_large",
        ("config: 20011 bytes as JSON", "16384", "capability_config_bytes"),
    ),
    Refused(
        "a-capability-that-hub-toml-declares",
        Rest("PUT", f"{ABLE}/file.read/1.2.0", {"enabled": False}),
        "managed_by_file",
        ("file.read 1.2.0 is declared in hub.toml", "change it there: ", "hub.toml:"),
    ),
    Refused(
        "a-capability-that-would-disable-one-of-hub-toml",
        Rest("PUT", f"{ABLE}/file.read/2.0.0", {"enabled": True}),
        "managed_by_file",
        ("hub.toml enables file.read 1.2.0",),
    ),
    Refused(
        "a-removed-capability-that-hub-toml-declares",
        Rest("DELETE", f"{ABLE}/file.read"),
        "managed_by_file",
        ("file.read 1.2.0 is declared in hub.toml", "remove it there"),
    ),
    Refused(
        "a-removed-capability-that-is-not-there",
        Rest("DELETE", f"{ABLE}/file.read/3.0.0"),
        "unknown_capability",
        ("no capability file.read 3.0.0", "it has 1.2.0", "hub agents capabilities"),
    ),
    Refused(
        "a-removed-capability-nobody-knows",
        Device("capabilities.remove", {"agent_id": "notes", "name": "fly"}),
        "unknown_capability",
        ("no capability fly",),
    ),
    Refused(
        "a-capability-of-an-agent-of-another-device",
        Device("capabilities.put", {"agent_id": "able", "name": "web", "version": "1.0.0"}),
        "unknown_agent",
        ("able",),
    ),
    Refused(
        "a-capability-that-was-changed-meanwhile",
        Rest("PUT", f"{NOTES}/web/1.0.0", {}, {"if-match": '"another"'}),
        "changed_meanwhile",
        ("it changed since it was read",),
    ),
    Refused(
        "a-run-with-a-need-without-an-operator",
        Rest("POST", "/v1/agents/notes/runs", {"needs": ["file.read 1.2"]}),
        "bad_params",
        ("'file.read 1.2'", "expected an operator", "file.read >= 1.2"),
    ),
    Refused(
        "a-run-with-a-need-of-no-version",
        Device("runs.start", {"agent_id": "notes", "needs": ["file.read >= 1.x"]}),
        "bad_params",
        ("'file.read >= 1.x'", "'1.x' is no version"),
    ),
    Refused(
        "a-run-with-too-many-needs",
        Rest("POST", "/v1/agents/notes/runs", {"needs": ["web"] * 33}),
        "bad_params",
        ("needs", "32"),
    ),
    Refused(
        "a-run-with-a-lock-of-no-name",
        Rest("POST", "/v1/agents/notes/runs", {"locks": ["two words"]}),
        "bad_params",
        ("'two words' cannot be the name of a lock",),
    ),
    Refused(
        "a-run-with-a-context-that-is-too-long",
        Rest("POST", "/v1/agents/notes/runs", {"context": {"text": "x" * 20_000}}),
        "too_large",
        ("context: 20011 bytes as JSON", "run_context_bytes"),
    ),
    Refused(
        "a-run-with-a-context-that-is-too-deep",
        Rest("POST", "/v1/agents/notes/runs", {"context": {"a": [[[[[[[[[1]]]]]]]]]}}),
        "bad_params",
        ("context: expected a JSON object", "8 levels"),
    ),
    Refused(
        "a-run-with-a-field-nobody-knows",
        Rest("POST", "/v1/agents/notes/runs", {"need": ["web"]}),
        "bad_params",
        ("need",),
    ),
)
