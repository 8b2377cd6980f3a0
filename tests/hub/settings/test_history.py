"""The history of the settings: which keys changed, and what they were before."""

import pytest

from hub.settings.edits import CannotEdit, KeyChange, combined, edited, key_changes, undone
from hub.settings.problems import document
from tests.support.families import each

NOTES = """
[[agents]]
name = "notes"   # the first
device = "desk"
prompt = "Find."
schedule = { every_s = 900 }
"""
MAIL = """
[[agents]]
name = "mail"
device = "desk"
connector = "work"

[[agents.slots]]
label = "stand-up"
duration_s = 900
# [limits]  a comment
"""
LIMITS = "[limits]\nruns = 4   # at once\n[listen.devices]\naddress = '127.0.0.1:1'\n"


def changed(before: str, after: str) -> tuple[KeyChange, ...]:
    """The changes between two texts."""
    return key_changes(document(before), document(after))


def test_each_key_is_named_with_its_values_and_an_entry_by_its_name() -> None:
    after = LIMITS.replace("runs = 4", "run_files = 9") + NOTES.replace("900", "60")
    assert changed(LIMITS + NOTES, after) == (
        KeyChange("limits.runs", "4", None),
        KeyChange("agents.notes.schedule", "{ every_s = 900 }", "{ every_s = 60 }"),
        KeyChange("limits.run_files", None, "9"),
    )
    assert changed(LIMITS + NOTES, "# the same\n" + LIMITS + NOTES) == ()
    (added,) = changed(NOTES, NOTES + MAIL)
    assert (added.key, added.old) == ("agents.mail", None)


def test_a_name_may_have_dots_and_another_user_an_agent_of_the_same_name() -> None:
    dotted = NOTES.replace('"notes"', '"my.notes"')
    assert changed(dotted, dotted.replace("Find.", "Look.")) == (
        KeyChange("agents.my.notes.prompt", '"Find."', '"Look."'),
    )
    values, without = undone(changed("", dotted))
    assert (values, edited(dotted, values, without).strip()) == ({}, "")
    values, without = undone(changed(dotted, ""))
    assert changed(dotted, edited("", values, without)) == ()
    hers = NOTES + NOTES.replace("Find.", 'Find."\nuser = "anna')
    (change,) = changed(hers, hers.replace("900", "60", 1))
    assert change.key == "agents.notes.schedule"
    (change,) = changed(hers, hers[::-1].replace("009", "06", 1)[::-1])
    assert change.key == "agents.notes (of anna).schedule"
    with pytest.raises(CannotEdit, match="is named"):
        edited(hers, *undone([change]))


@each(
    ("line", "key"),
    [
        ("[agents.config]\ntoken = '{}'", "agents.notes.config"),
        ("prompt2 = 'sk-{}'", "agents.notes.prompt2"),
        ("config = {{ inner = {{ password = '{}' }} }}", "agents.notes.config"),
    ],
)
def test_a_secret_has_its_digest(line: str, key: str) -> None:
    (change,) = changed(NOTES, NOTES + line.format("abcdefghijklmnopqrstuvwxyz"))
    assert change.key == key
    assert change.new is not None and change.new.startswith("(secret, SHA-256 ")
    (other,) = changed(NOTES, NOTES + line.format("zyxwvutsrqponmlkjihgfedcba"))
    assert other.new != change.new
    with pytest.raises(CannotEdit, match="was not kept"):
        undone([KeyChange(change.key, change.new)])


def test_a_reference_to_a_secret_is_none() -> None:
    text = '[model]\nkind = "openai"\napi_key = { env = "KEY" }\n'
    assert KeyChange("model.api_key", None, '{ env = "KEY" }') in changed("", text)


def test_a_long_value_has_its_digest() -> None:
    (change,) = changed(NOTES, NOTES.replace("Find.", "Find." * 5_000))
    assert (change.old, str(change.new)[:6]) == ('"Find."', "(long,")


def test_changes_of_one_key_are_one_from_the_first_to_the_last_value() -> None:
    there_and_back = [KeyChange("limits.runs", "4", "5"), KeyChange("limits.runs", "5", "4")]
    assert combined(there_and_back) == ()
    more = [KeyChange("hub.name", None, '"x"'), KeyChange("limits.runs", "4", "6")]
    assert combined([*there_and_back, *more]) == tuple(more)


@each(
    "after",
    [
        LIMITS.replace("4", "5") + NOTES + MAIL,
        LIMITS.replace("runs = 4   # at once\n", "") + NOTES + MAIL,
        LIMITS + "tls = { certificate = 'a', key = 'b' }\n" + NOTES + MAIL,
        LIMITS + NOTES.replace("Find.", 'Find \\"all\\" ü\\n.') + MAIL,
        LIMITS + NOTES.replace("schedule = { every_s = 900 }", "schedule = '0 7 * * *'") + MAIL,
        LIMITS
        + NOTES.replace("schedule = { every_s = 900 }", "schedule = { at = 2026-12-01T09:00:00Z }")
        + MAIL,
        LIMITS + NOTES,
        LIMITS + MAIL,
        LIMITS,
        NOTES,
        LIMITS + NOTES + MAIL + "[model]\nkind = 'openai'\nname = 'm'\nbase_url = 'http://x'\n",
        "",
    ],
)
def test_what_is_undone_is_as_it_was_and_comments_stay(after: str) -> None:
    before = LIMITS + NOTES + MAIL
    values, without = undone(changed(before, after))
    assert changed(before, edited(after, values, without)) == ()
    values, without = undone(changed(after, before))
    back = edited(before, values, without)
    assert changed(after, back) == ()
    assert "# [limits]  a comment" in back
