"""What of a mailbox is read: the filter is looked at for every message, whatever its server did with it."""

from typing import Any

import pytest
from pydantic import ValidationError

from hub.connectors.connector import Address, Attachment, Filter, Message
from hub.connectors.selection import why_left_out
from tests.support.families import each

ANA = Address("ana@mail.example.org", "Ana Berg")


def message(**said: Any) -> Message:
    return Message(key="mid:1@example.org", **{"sender": ANA, "subject": "Rent for May", **said})


@each(
    ("said", "wanted", "reason"),
    [
        ({}, {}, None),
        ({"is_bulk": True}, {}, "bulk"),
        ({"is_bulk": True}, {"include_bulk": True}, None),
        ({"is_sent": True}, {}, "sent"),
        ({"is_sent": True}, {"include_sent": True}, None),
        ({"is_unread": False}, {"unread_only": True}, "read"),
        ({"is_unread": None}, {"unread_only": True}, None),  # nobody knows: it is not passed over
        ({}, {"from_any": ("ana@mail.example.org",)}, None),
        ({}, {"from_any": ("ANA@mail.example.org",)}, None),
        ({}, {"from_any": ("ana@example.org",)}, "sender"),
        ({}, {"from_any": ("@example.org",)}, None),
        ({"sender": Address("ana@notexample.org")}, {"from_any": ("@example.org",)}, "sender"),
        ({}, {"from_any": ("berg",)}, None),
        ({"sender": None}, {"from_any": ("berg",)}, "sender"),
        ({}, {"not_from": ("@mail.example.org",)}, "sender"),
        ({"sender": None}, {"not_from": ("@mail.example.org",)}, None),
        ({}, {"subject_any": ("invoice", "RENT")}, None),
        ({}, {"subject_any": ("invoice",)}, "subject"),
        ({"subject": "Straßenfest"}, {"subject_any": ("STRASSE",)}, None),
        ({}, {"subject_regex": r"(?i)rent for \w+"}, None),
        ({}, {"subject_regex": r"rent"}, "subject"),
        ({}, {"has_attachment": True}, "attachment"),
        ({}, {"has_attachment": False}, None),
    ],
)
def test_filter_reports_a_single_reason_for_an_excluded_message(
    said: dict[str, Any], wanted: dict[str, Any], reason: str | None
) -> None:
    assert why_left_out(message(**said), Filter.model_validate(wanted)) == reason


def test_attachment_filter_ignores_inline_pictures() -> None:
    logo = Attachment(id="2", name="logo.png", media_type="image/png", size_bytes=9, is_inline=True)
    plan = Attachment(id="3", name="plan.pdf", media_type="application/pdf", size_bytes=9)
    wanted = Filter(has_attachment=True)
    assert why_left_out(message(attachments=(logo,)), wanted) == "attachment"
    assert why_left_out(message(attachments=(logo, plan)), wanted) is None


def test_subject_pattern_runs_without_exponential_backtracking() -> None:
    assert why_left_out(message(subject="a" * 5_000), Filter(subject_regex="(a+)+b")) == "subject"


@each("written", ["(", "a{2", r"(a)\1", "x*"])
def test_unusable_subject_pattern_of_a_filter_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="subject_regex"):
        Filter(subject_regex=written)
