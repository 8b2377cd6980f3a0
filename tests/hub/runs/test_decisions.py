"""What became of a schedule's fires, in words."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from hub.runs.sentences import (
    describe_decision,
    describe_errors,
    describe_missed,
    describe_pause,
    describe_reason,
    describe_wake,
)
from storage.runs.runs import RunError
from storage.schedules.fires import Missed
from tests.support.families import each


@each(
    ("decision", "reason", "fires", "sentence"),
    [
        ("run", None, 1, "a run was queued"),
        ("run", None, 2, "a run was queued for each; the newest represents those without news"),
        ("coalesced", "device_offline", 1, "one run covers it: device desk was offline"),
        ("coalesced", "hub_down", 3, "one run covers them: the hub was down"),
        ("skipped_overlap", "still_running", 1, "skipped: the run before was still going"),
        ("skipped_window", "window", 9, "not caught up: older than the catch-up window"),
        ("skipped_paused", "agent_paused", 2, "skipped: the agent was paused"),
        ("skipped_exhausted", "exhausted", 1, "skipped: the model's quota was used up"),
        ("dropped_queue_full", "queue_full", 1, "dropped: too many runs were waiting"),
        ("from_the_future", "new_word", 1, "from the future: new word"),
    ],
)
def test_each_decision_is_a_sentence(decision: str, reason: str | None, fires: int, sentence: str) -> None:
    assert describe_decision(decision, reason, fires=fires, device="desk") == sentence


@each(
    ("missed", "note"),
    [
        ([], None),
        ([Missed("coalesced", "device_offline", 2)], "2 missed: device desk was offline"),
        ([Missed("coalesced", None, 1)], "1 missed: for no known reason"),
        (
            [
                Missed("coalesced", "device_offline", 2),
                Missed("coalesced", "hub_down", 1),
                Missed("coalesced", "device_offline", 1),
            ],
            "4 missed: device desk was offline (3), the hub was down (1)",
        ),
        ([Missed("skipped_overlap", "still_running", 3)], "3 skipped while it was under way"),
        (
            [Missed("coalesced", "hub_down", 1), Missed("skipped_overlap", "still_running", 2)],
            "1 missed: the hub was down, 2 skipped while it was under way",
        ),
        (
            [Missed("coalesced", "hub_down", 2_000), Missed("coalesced", "exhausted", 999)],
            "2999 or more missed: the hub was down (2000 or more), the model's quota was used up (999)",
        ),
        ([Missed("skipped_overlap", None, 1_000)], "1000 or more skipped while it was under way"),
    ],
)
def test_a_run_lists_the_fires_that_it_replaces(missed: list[Missed], note: str | None) -> None:
    assert describe_missed(missed, "desk") == note


def test_a_paused_schedule_says_why() -> None:
    assert describe_pause("failures", 5) == "paused after 5 failed runs in a row"
    assert describe_pause("finished", 0) == "it has fired for the last time"


def test_a_single_instant_that_is_past_is_not_reported_as_fired() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    told = describe_pause("finished", 0, at=datetime(2020, 12, 1, 9, tzinfo=berlin))
    assert told == "its time 2020-12-01 08:00 UTC is over"


def test_a_reason_of_a_run_is_shown_to_people_as_a_sentence() -> None:
    assert describe_reason("start_deadline", within_s=30.0) == "not started within 30 s of its time"
    assert describe_reason("hub_restart") == "the hub was ended"
    words = ("start_deadline", "crash_loop", "paused_too_long", "device_gone", "superseded")
    assert not [word for word in words if "_" in (describe_reason(word) or "_")]


def test_a_reason_that_was_written_for_people_stays_as_it_is() -> None:
    assert (describe_reason("wrong folder"), describe_reason(None)) == ("wrong folder", None)


def test_failures_of_a_run_are_summarized_with_the_sentence_of_the_first_and_their_numbers() -> None:
    def error(code: str, unit_key: str | None = "a.md") -> RunError:
        return RunError(unit_key, code, "", 1)

    def describe(errors: Sequence[RunError], failed: int) -> str | None:
        return describe_errors(errors, failed=failed, describe=lambda one: f"{one.unit_key or 'all'} is bad")

    assert (describe([], 0), describe([error("too_large")], 1)) == (None, "1 failed: a.md is bad")
    both = [error("changed"), error("too_large"), error("too_large")]
    assert describe(both, 3) == "3 failed: 2 too_large, 1 changed; first: a.md is bad"
    whole = RunError(None, "limit_reached", "", 1)
    assert describe([whole, whole], 0) == "all is bad"
    assert describe([error("changed")] * 2 + [whole], 9) == "9 failed; the first 2: a.md is bad; all is bad"
    assert describe([], 9) == "9 failed"


@each(
    ("state", "reason", "sentence"),
    [
        ("acknowledged", None, "the agent was woken"),
        ("failed", "device_offline", "the agent did not wake: device desk was offline"),
        ("of_a_newer_hub", None, "of_a_newer_hub"),
    ],
)
def test_the_result_of_a_wake_is_a_sentence(state: str, reason: str | None, sentence: str) -> None:
    assert describe_wake(state, reason, device="desk") == sentence
