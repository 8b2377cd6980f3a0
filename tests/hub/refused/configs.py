"""Refused at configs of agents, and at what devices want to hear of."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

CONFIG = "/v1/agents/phone-notes/config"
# Of the agent of another device, so that nothing here changes what the other tables look at.
GIVEN = (
    Rest("PUT", f"{CONFIG}/ratio", {"value": 0.5}),
    Rest("PUT", f"{CONFIG}/limit", {"value": 5}),
)


def put(**configs: Any) -> Rest:
    """Several configs at once, the first of which is right."""
    return Rest("PATCH", CONFIG, {"configs": {"good": {"value": 1}} | configs})


ROWS = (
    Refused(
        "a-config-of-the-wrong-type",
        put(limit={"value": "five"}),
        "bad_config",
        ("limit: expected integer, not the text 'five'", "give a type"),
    ),
    Refused(
        "a-config-that-is-not-of-the-type-given",
        put(share={"value": 5, "type": "string"}),
        "bad_config",
        ("share: expected string, not the integer 5",),
    ),
    Refused(
        "a-config-of-a-type-nobody-knows",
        put(share={"value": 5, "type": "number"}),
        "bad_params",
        ("configs.share.type", "float"),
    ),
    Refused("a-config-without-a-value", put(share={"type": "json"}), "bad_params", ("configs.share.value",)),
    Refused("an-integer-of-65-bits", put(n={"value": 2**64}), "bad_config", ("n: an integer has 64 bits",)),
    Refused(
        "a-config-that-no-database-keeps", put(text={"value": "a\0b"}), "bad_config", ("text:", "U+0000")
    ),
    Refused(
        "a-key-with-a-blank", put(**{"a b": {"value": 1}}), "bad_config", ("'a b'", "begins with a letter")
    ),
    Refused(
        "a-key-that-is-too-long",
        put(**{"k" * 256: {"value": 1}}),
        "bad_config",
        ("at most 255 characters, not 256",),
    ),
    Refused(
        "a-key-that-the-hub-keeps-for-itself",
        put(timezone={"value": "UTC"}),
        "bad_config",
        ("timezone: this is a setting of the agent itself", "PATCH /v1/agents"),
    ),
    Refused(
        "a-value-that-is-too-long",
        put(text={"value": "x" * 65_537}),
        "limit_reached",
        ("text: a value has at most 65536 bytes, this one 65537", "config_value_bytes"),
    ),
    Refused(
        "more-configs-than-an-agent-may-have",
        put(**{f"k{n}": {"value": n} for n in range(256)}),
        "limit_reached",
        ("at most 256 configs, this would be 259", "config_keys"),
    ),
    Refused(
        "more-bytes-than-an-agent-may-have",
        put(**{f"k{n}": {"value": "x" * 60_000} for n in range(5)}),
        "limit_reached",
        ("at most 262144 bytes together", "config_bytes"),
    ),
    Refused(
        "json-that-is-nested-too-deep",
        put(deep={"value": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}),
        "bad_config",
        ("deep: the value has more than 32 levels",),
    ),
    Refused("a-config-that-is-not-there", Rest("GET", f"{CONFIG}/gone"), "unknown_config", ("'gone'",)),
    Refused(
        "removing-what-is-not-there",
        Rest("DELETE", f"{CONFIG}/gone"),
        "unknown_config",
        ("no config 'gone'",),
    ),
    Refused(
        "an-edit-of-an-older-revision",
        Rest("PUT", f"{CONFIG}/limit", {"value": 6}, {"If-Match": '"1"'}),
        "changed_meanwhile",
        ("changed since it was read",),
    ),
    Refused(
        "going-back-to-what-never-was",
        Rest("POST", "/v1/agents/phone-notes/config-revert", {"to": 99}),
        "unknown_config",
        ("cannot go back to change 99",),
    ),
    Refused(
        "a-config-of-an-agent-that-is-not-there",
        Rest("GET", "/v1/agents/nobody/config"),
        "unknown_agent",
        ("nobody",),
    ),
    Refused(
        "a-config-of-another-devices-agent",
        Device("config.set", {"agent_id": "phone-notes", "values": {"limit": 6}}),
        "unknown_agent",
        ("this device has no agent 'phone-notes'",),
    ),
    Refused(
        "configs-that-are-no-object",
        Device("config.set", {"agent_id": "notes", "values": ["limit"]}),
        "bad_params",
        ("values: expected an object",),
    ),
    Refused(
        "a-config-of-a-device-of-the-wrong-type",
        Device("config.set", {"agent_id": "notes", "values": {"a": "x"}, "types": {"a": "boolean"}}),
        "bad_config",
        ("a: expected boolean, not the text 'x'",),
    ),
    Refused(
        "unsetting-what-is-not-there",
        Device("config.unset", {"agent_id": "notes", "keys": ["gone"]}),
        "unknown_config",
        ("no config 'gone'",),
    ),
    Refused("hearing-of-nothing", Device("subscribe"), "bad_params", ("events: missing",)),
    Refused(
        "hearing-of-what-never-happens",
        Device("subscribe", {"events": ["agent.mooved"]}),
        "bad_params",
        ("there is no event 'agent.mooved'", "agent.moved"),
    ),
)
