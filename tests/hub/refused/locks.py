"""Refused at locks."""

from typing import Any

from tests.hub.refused.row import Device, Refused, Rest

SETTINGS = """
[[agents]]
name = "lock-keeper"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
prompt = "Find tasks."
"""


def acquire(agent: str = "notes", **about: Any) -> Device:
    return Device("locks.acquire", {"agent_id": agent} | about)


def held(method: str, **about: Any) -> Device:
    """A request about the lock ``kept``, by who has it and under its fence unless *about* says otherwise."""
    return Device(method, {"agent_id": "lock-keeper", "fences": {"kept": 1}} | about)


HOUR_MS = 3_600_000
GIVEN = (
    acquire("lock-keeper", resource="kept", ttl_ms=HOUR_MS),
    acquire("notes", resource="own", ttl_ms=HOUR_MS),
)

ROWS = (
    Refused("a-lock-without-a-name", acquire(), "bad_params", ("resources", "1 to 16 locks")),
    Refused(
        "a-lock-with-a-blank",
        acquire(resource="my mail"),
        "bad_params",
        ("'my mail'", "as in 'mailbox:anna'"),
    ),
    Refused(
        "a-lock-of-256-characters",
        acquire(resource="x" * 256),
        "bad_params",
        ("1 to 255 characters", "xx..."),
    ),
    Refused(
        "seventeen-locks",
        acquire(resources=[f"lock-{n}" for n in range(17)]),
        "bad_params",
        ("17 locks at once", "at most 16"),
    ),
    Refused("a-lock-for-two-days", acquire(resource="a", ttl_ms=48 * HOUR_MS), "bad_params", ("ttl_ms",)),
    Refused(
        "a-lock-for-no-time",
        acquire(resource="a", ttl_ms=0),
        "bad_params",
        ("ttl_ms: expected a whole number, at least 1000",),
    ),
    Refused(
        "a-wait-of-an-hour",
        acquire(resource="a", wait_ms=HOUR_MS),
        "bad_params",
        ("wait_ms: expected a whole number, at most 600000",),
    ),
    Refused(
        "a-lock-without-an-agent", Device("locks.acquire", {"resource": "a"}), "bad_params", ("agent_id",)
    ),
    Refused(
        "a-lock-for-an-agent-of-another-device",
        acquire("phone-notes", resource="a"),
        "unknown_agent",
        ("phone-notes",),
    ),
    Refused(
        "a-lock-that-somebody-has",
        acquire(resource="kept"),
        "lock_held",
        ("'kept' is held by device desk for agent lock-keeper since", "until", "wait_ms"),
    ),
    Refused(
        "a-lock-that-somebody-has-over-rest-which-does-not-wait",
        Rest("POST", "/v1/agents/notes/locks", {"resources": ["kept"]}),
        "lock_held",
        ("'kept' is held by device desk", "try again later; a device may also wait for it"),
    ),
    Refused(
        "a-lock-that-does-not-come-in-time",
        acquire(resource="kept", wait_ms=1),
        "lock_timed_out",
        ("within 0.001 s", "'kept' is held by device desk for agent lock-keeper since", "try again later"),
    ),
    Refused(
        "waiting-for-a-lock-with-another-in-hand",
        acquire(resources=["kept", "own"], wait_ms=9),
        "bad_params",
        ("holds lock 'own' already", "'kept'", "release it first"),
    ),
    Refused(
        "a-lock-renewed-under-another-fence",
        held("locks.renew", fences={"kept": 99}),
        "lock_lost",
        ("'kept'", "fence 99", "device desk for agent lock-keeper has it under", "acquire the lock again"),
    ),
    Refused(
        "a-lock-renewed-that-nobody-took",
        held("locks.renew", fences={"nothing": 1}),
        "lock_lost",
        ("there is no lock 'nothing'",),
    ),
    Refused("a-lock-renewed-without-a-fence", held("locks.renew", fences={}), "bad_params", ("fences",)),
    Refused(
        "a-lock-released-by-another-agent",
        held("locks.release", agent_id="notes"),
        "lock_lost",
        ("lock 'kept' is another's: device desk for agent lock-keeper has it under fence 1",),
    ),
    Refused("a-fence-that-is-text", held("locks.release", fences={"kept": "1"}), "bad_params", ("fences",)),
    Refused(
        "a-release-of-a-lock-nobody-took",
        Rest("POST", "/v1/locks/release", {"resource": "nothing"}),
        "unknown_lock",
        ("'nothing'", "hub locks --all"),
    ),
    Refused(
        "a-release-of-a-lock-held-under-another-fence",
        Rest("POST", "/v1/locks/release", {"resource": "kept", "fence": 99}),
        "lock_lost",
        ("'kept' is held by device desk for agent lock-keeper under fence", "not 99"),
    ),
    Refused("a-release-without-a-lock", Rest("POST", "/v1/locks/release", {}), "bad_params", ("resource",)),
    Refused(
        "locks-of-an-agent-nobody-knows", Rest("GET", "/v1/locks?agent=nots"), "unknown_agent", ("'nots'",)
    ),
)
