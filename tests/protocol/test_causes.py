"""Reasons why a device is away: words on the wire, texts of the history, sentences with remedies."""

import pytest

from protocol.causes import AWAY, LEAVING, cause_of, describe_cause, left_by, without_folders, word_of
from tests.support.families import each


@each(
    ("reason", "word"),
    [
        *((f'{{"r":"{word}"}}', word) for word in LEAVING),
        ('{"r":"done"}', None),
        ('{"r":"device_closed"}', None),  # the word of the hub itself
        ('{"r":"rm -rf /"}', None),
        ('{"r":1}', None),
        ('["paused"]', None),
        ('{"r": "paused", "x": 1}', "paused"),
        ('{"r": ["paused"]}', None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_word_of_a_close_frame_counts_only_if_devices_leave_with_that_word(
    reason: str, word: str | None
) -> None:
    assert word_of(reason) == word


@pytest.mark.parametrize("word", AWAY)
def test_text_of_the_history_names_its_cause_with_a_remedy_for_the_device(word: str) -> None:
    assert cause_of(left_by(word)) is AWAY[word]
    described = describe_cause(left_by(word), "desk") or ""
    assert described.startswith(AWAY[word].sentence)
    assert "{" not in described


@pytest.mark.parametrize("text", [None, "", "its device connected", left_by(None), left_by("another")])
def test_text_of_the_history_without_a_known_cause_names_none(text: str | None) -> None:
    assert describe_cause(text, "desk") is None


def test_missing_folders_are_named_in_bounds_whatever_their_names_have() -> None:
    missing = ["~/a{device}", "~/" + "b" * 900, "~/c", "~/d", "~/e"]
    described = describe_cause(without_folders(missing), "desk")
    assert described is not None
    assert described.startswith("~/a{device}, ~/bb")
    assert "~/c and 2 others were moved or renamed" in described
    assert without_folders(missing[:4]).endswith("~/c and 1 other")
    assert "on desk: put it back" in described
    assert len(described) < 700
