"""Refused at the slots of agents' calendars."""

from typing import Any

from tests.hub.refused.row import Refused, Rest

SLOT = {"label": "standup", "cron": "0 9 * * 1-5", "duration_s": 600}
SLOTS = "/v1/agents/notes/slots"


def made_with(*slots: dict[str, Any]) -> Rest:
    """An agent that would have these slots."""
    body = {
        "name": "caller",
        "device": "desk",
        "paths": ["notes"],
        "data_types": ["tasks"],
        "prompt": "Find tasks.",
        "slots": slots,
    }
    return Rest("POST", "/v1/agents", body)


def slot(**about: Any) -> Rest:
    """An agent whose only slot is wrong in one way; what is None is left out."""
    return made_with({key: value for key, value in (SLOT | about).items() if value is not None})


ROWS = (
    Refused("slots-of-nobody", Rest("GET", "/v1/agents/nobody/slots"), "unknown_agent", ("nobody",)),
    Refused(
        "slots-after-a-cursor-of-another-list",
        Rest("GET", f"{SLOTS}?cursor=WyJ4Il0"),
        "bad_params",
        ("cursor",),
    ),
    Refused(
        "slots-of-an-agent-of-the-file",
        Rest("PATCH", "/v1/agents/notes", {"slots": [SLOT]}),
        "managed_by_file",
        ("managed by hub.toml",),
    ),
    Refused("a-slot-without-a-label", slot(label=None), "bad_params", ("slots.0.label",)),
    Refused("a-slot-that-never-ends", slot(duration_s=None), "bad_params", ("slots.0.duration_s",)),
    Refused("a-slot-over-at-once", slot(duration_s=1), "bad_params", ("slots.0.duration_s", "10")),
    Refused("a-slot-of-a-month", slot(duration_s=2_592_000), "bad_params", ("slots.0.duration_s", "604_800")),
    Refused("a-slot-at-no-time", slot(cron=None), "bad_params", ("slots.0", "when it fires is missing")),
    Refused("a-slot-at-two-times", slot(every_s=900), "bad_params", ("slots.0.every_s", "keep one of them")),
    Refused("a-slot-on-no-day", slot(cron="0 9 30 2 *"), "bad_params", ("slots.0.cron", "never fires")),
    Refused("a-slot-too-often", slot(cron=None, every_s=1), "bad_params", ("slots.0.every_s", "5")),
    Refused(
        "a-slot-caught-up-after-its-end",
        slot(catch_up_window_s=3_600),
        "bad_params",
        ("slots.0.catch_up_window_s", "the slot is over by then", "until it ends"),
    ),
    Refused(
        "a-slot-with-the-settings-of-a-run",
        slot(run_timeout_s=60),
        "bad_params",
        ("slots.0.run_timeout_s", "there is no such field"),
    ),
    Refused(
        "a-slot-spread-beyond-the-next",
        slot(cron=None, every_s=60, jitter_s=30),
        "bad_params",
        ("slots.0.jitter_s", "less than half"),
    ),
    Refused(
        "two-slots-of-one-label",
        made_with(SLOT, SLOT | {"cron": "0 10 * * *"}),
        "bad_params",
        ("slots.1.label", "another slot is called 'standup'"),
    ),
)
