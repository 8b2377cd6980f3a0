"""Refused at templates, and at agents that are made over the API."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

SETTINGS = """
[[templates]]
name = "kept"
[templates.configuration_schema]
required = ["project"]
additionalProperties = false
properties.project = { type = "string" }
properties.depth = { type = "integer", minimum = 1 }
"""
MAIL: dict[str, Any] = {
    "name": "mail",
    "device": "desk",
    "paths": ["mail"],
    "data_types": ["tasks"],
    "prompt": "Find the tasks that a person has to do.",
}
STRICT = {"configuration_schema": {"required": ["owner"]}, "default_configuration": {"owner": "anna"}}
GIVEN = (
    Rest("PUT", "/v1/templates/strict", STRICT),
    Rest("POST", "/v1/agents", MAIL | {"name": "made", "template": "strict", "external_id": "crm-7"}),
)


def make(case: str, code: str, *words: str, **about: Any) -> Refused:
    return Refused(case, Rest("POST", "/v1/agents", MAIL | about), code, words)


def put(case: str, code: str, *words: str, **about: Any) -> Refused:
    return Refused(case, Rest("PUT", "/v1/templates/another", about), code, words)


ROWS = (
    make("an-agent-of-a-taken-name", "name_taken", "'made'", "another name", name="made"),
    make("an-agent-of-the-name-of-one-in-the-file", "name_taken", "'notes'", name="notes"),
    make("an-agent-on-no-device", "unknown_device", "'tablet'", "hub devices", device="tablet"),
    make("an-agent-of-nobody", "unknown_user", "'nobody'", "hub users", user="nobody"),
    make("an-agent-of-no-template", "unknown_template", "'nothing'", "hub templates", template="nothing"),
    make("an-agent-with-a-taken-external-id", "name_taken", "external_id", "'made'", external_id="crm-7"),
    make(
        "runs-without-a-prompt", "bad_config", "schedule", "template", prompt=None, schedule={"every_s": 60}
    ),
    make("an-agent-of-an-unknown-type", "bad_params", "type", "'PLANNER'", type="PLANER"),
    make("an-agent-with-a-need-that-is-none", "bad_params", "needs", ">> 2", needs=["file.read >> 2"]),
    make("an-agent-with-a-lock-that-is-none", "bad_params", "locks", "'a b'", locks=["a b"]),
    make("an-agent-with-a-schedule-that-is-none", "bad_params", "schedule", schedule="every morning"),
    make("an-agent-that-hides-what-has-no-pattern", "bad_params", "redact", "[redaction]", redact=["names"]),
    make("an-agent-with-an-unknown-variable", "bad_config", "'projct'", "known are", prompt="{{ projct }}"),
    make("an-agent-with-braces-that-are-no-variable", "bad_config", "line 1", "{{ name }}", prompt="a {{ b"),
    make("an-agent-that-lacks-what-its-template-asks-for", "bad_config", "$", "project", template="kept"),
    make(
        "an-agent-with-a-config-of-another-kind",
        "bad_config",
        "$.depth",
        "a whole number",
        "kept",
        template="kept",
        config={"project": "x", "depth": "deep"},
    ),
    Refused(
        "an-edit-of-an-agent-of-the-file",
        Rest("PATCH", "/v1/agents/notes", {"priority": 3}),
        "managed_by_file",
        ("hub.toml:", "edit hub.toml"),
    ),
    Refused(
        "a-removal-of-an-agent-of-the-file",
        Rest("DELETE", "/v1/agents/notes"),
        "managed_by_file",
        ("'notes'", "hub.toml:"),
    ),
    Refused(
        "an-edit-into-what-no-template-allows",
        Rest("PATCH", "/v1/agents/made", {"template": "kept"}),
        "bad_config",
        ("agent made", "project", "template kept"),
    ),
    Refused(
        "an-edit-by-who-has-read-another",
        Rest("PATCH", "/v1/agents/made", {"priority": 3}, {"if-match": '"old"'}),
        "changed_meanwhile",
        ("read it again",),
    ),
    Refused(
        "an-edit-of-a-field-there-is-not",
        Rest("PATCH", "/v1/agents/made", {"priorty": 3}),
        "bad_params",
        ("priorty", "no such field"),
    ),
    put(
        "a-schema-that-is-none",
        "bad_params",
        "$.type",
        "'objet' is not one of",
        "'object'",
        configuration_schema={"type": "objet"},
    ),
    put(
        "a-schema-that-leads-elsewhere",
        "bad_params",
        "$.$ref",
        "other documents are not fetched",
        configuration_schema={"$ref": "https://example.com/schema.json"},
    ),
    put(
        "defaults-that-the-schema-refuses",
        "bad_params",
        "default_configuration: $.depth",
        configuration_schema={"properties": {"depth": {"type": "integer"}}},
        default_configuration={"depth": "deep"},
    ),
    put("a-prompt-that-is-none", "bad_config", "line 1", prompt="Find {{ this or that }}."),
    Refused(
        "a-template-that-would-break-an-agent",
        Rest("PUT", "/v1/templates/strict", {"configuration_schema": {"required": ["budget"]}}),
        "bad_config",
        ("agent made", "budget", "insist with force"),
    ),
    Refused(
        "a-change-of-a-template-of-the-file",
        Rest("PUT", "/v1/templates/kept", {}),
        "managed_by_file",
        ("'kept'", "hub.toml:"),
    ),
    Refused(
        "a-removal-of-a-template-in-use",
        Rest("DELETE", "/v1/templates/strict"),
        "template_in_use",
        ("made", "another template"),
    ),
    Refused(
        "a-template-there-is-not", Rest("GET", "/v1/templates/no"), "unknown_template", ("hub templates",)
    ),
    Refused(
        "an-agent-that-a-device-makes-elsewhere",
        Device("agents.create", MAIL),
        "bad_params",
        ("device", "leave it out"),
    ),
    Refused(
        "runs-that-a-device-schedules-of-nothing",
        Device("agents.create", {"name": "mail", "data_types": ["tasks"], "schedule": {"every_s": 60}}),
        "bad_config",
        ("schedule", "paths", "prompt"),
    ),
    Refused(
        "a-change-by-a-device-of-an-agent-of-the-file",
        Device("agents.update", {"agent_id": "notes", "priority": 3}),
        "managed_by_file",
        ("hub.toml:",),
    ),
    Refused(
        "a-removal-by-a-device-of-an-agent-of-another",
        Device("agents.delete", {"agent_id": "phone-notes"}),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "a-change-by-a-device-that-has-read-another",
        Device("agents.update", {"agent_id": "made", "rev": 99, "priority": 3}),
        "changed_meanwhile",
        ("changed since it was read",),
    ),
    Refused(
        "a-change-by-a-device-of-a-field-there-is-not",
        Device("agents.update", {"agent_id": "made", "priorty": 3}),
        "bad_params",
        ("priorty", "did you mean 'priority'?"),
    ),
)
