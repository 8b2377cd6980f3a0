"""Tables that an operator declares in hub.toml: what they become, and what is wrong with one."""

import re
import sqlite3
from pathlib import Path

from hub import docs
from hub.device import schema
from hub.settings.reading import check_settings
from hub.settings.table_settings import tables_of
from protocol.tables import (
    DEVICE_OWN,
    MAX_CHOICES,
    MAX_FIELDS,
    MAX_TABLES,
    NAME,
    TABLES,
    Column,
    DeviceTable,
    Filler,
    Kind,
    problems_in,
)
from tests.hub.settings.test_settings_checks import AGENT
from tests.support.families import each
from tests.support.settings import Check

CONTACTS = """\
[[tables]]
name = "contacts"
description = "a person or a company"
key = ["name", "company"]
needs = ["email", "project"]
fields = [
  { name = "name", description = "full name" },
  { name = "company", max_length = 200 },
  { name = "phone" },
  { name = "email" },
  { name = "kind", choices = ["customer", "New lead"] },
  { name = "met", type = "date" },
  { name = "fee", type = "number" },
  { name = "isMember", type = "boolean" },
  { name = "languages", type = "list" },
]
"""


def test_table_of_hub_toml_is_declared_like_a_built_in_table(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(CONTACTS + AGENT.replace('"tasks"', '"contacts", "tasks"') + 'prompt = "Find."')
    checked = check_settings(file, environ={})
    assert checked.problems == []
    assert checked.settings is not None
    table = tables_of(checked.settings.tables)["contacts"]
    assert table == DeviceTable(
        name="contacts",
        about="a person or a company",
        title="name",
        key=("name", "company"),
        fields=(
            Column(name="name", kind=Kind.TEXT, required=True, max_length=500, about="full name"),
            Column(name="company", kind=Kind.TEXT, max_length=200),
            Column(name="phone", kind=Kind.TEXT),
            Column(name="email", kind=Kind.TEXT, required_to_approve=True),
            Column(name="kind", kind=Kind.TEXT, choices=("customer", "New lead")),
            Column(name="met", kind=Kind.EPOCH_MS),
            Column(name="fee", kind=Kind.NUMBER),
            Column(name="isMember", kind=Kind.FLAG),
            Column(name="languages", kind=Kind.NAMES),
            Column(
                name="projectId",
                kind=Kind.TEXT,
                filler=Filler.PERSON,
                required_to_approve=True,
                refers_to="projects",
            ),
        ),
    )


def test_the_table_and_agent_of_the_handbook_are_right(check: Check) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", docs.page("tables"), re.DOTALL)
    assert check(block) == []


def test_table_limits_of_the_handbook_equal_the_limits_of_the_hub() -> None:
    page = docs.page("tables")
    for row in (f"| tables | {MAX_TABLES} |", f"| fields of a table | {MAX_FIELDS} |"):
        assert row in page
    assert f"| choices of a field | {MAX_CHOICES} |" in page


def with_fields(fields: str, key: str = '["a"]') -> str:
    return f'[[tables]]\nname = "t"\ndescription = "x"\nkey = {key}\nfields = [{fields}]\n'


A = '{ name = "a" }'


@each(
    ("text", "found"),
    [
        (
            CONTACTS.replace('"contacts"', '"taskcomments"'),
            "2:8: error: tables.taskcomments.name: taskcomments is a built",
        ),
        (
            CONTACTS.replace('"contacts"', '"messages"'),
            "2:8: error: tables.messages.name: a device has a table mess",
        ),
        (
            CONTACTS.replace('"contacts"', '"my_contacts"'),
            "2:8: error: tables.my_contacts.name: a small letter, then",
        ),
        (CONTACTS * 2, "18:8: error: tables.contacts.name: another table has this name"),
        (
            CONTACTS + CONTACTS.replace('"contacts"', '"conTacts"'),
            "18:8: error: tables.conTacts.name: another table",
        ),
        (
            CONTACTS.replace('"phone"', '"isApproved"'),
            "9:12: error: tables.contacts.fields.isApproved.name: isApproved is res",
        ),
        (
            CONTACTS.replace('"phone"', '"Company"'),
            "9:12: error: tables.contacts.fields.Company.name: a small letter, then",
        ),
        (
            CONTACTS.replace('"phone"', '"comPany"'),
            "9:12: error: tables.contacts.fields.comPany.name: another field is cal",
        ),
        (
            CONTACTS.replace('"date"', '"day"'),
            "12:26: error: tables.contacts.fields.met.type: must be ",
        ),
        (CONTACTS.replace('["name", "company"]', "[]"), "4:7: error: tables.contacts.key: may not be empty"),
        (
            CONTACTS.replace('["name", "company"]', '["met"]'),
            "4:8: error: the first of tables.contacts.key: met names a row, so",
        ),
        (
            CONTACTS.replace('["name", "company"]', '["name", "x"]'),
            "4:16: error: the second of tables.contacts.key: there is no f",
        ),
        (CONTACTS.replace('key = ["name", "company"]', ""), "1:1: error: tables.contacts.key: missing"),
        (
            CONTACTS.replace('"email", "p', '"mail", "p'),
            "5:10: error: the first of tables.contacts.needs: there is no field 'm",
        ),
        (
            CONTACTS.replace('type = "date"', 'type = "date", choices = ["x"]'),
            "choices: only a text has choices",
        ),
        (
            CONTACTS.replace('"New lead"', '"Customer"'),
            "choices: two choices are the same, without regard to",
        ),
        (CONTACTS.replace("200", "200_000"), "8:36: error: tables.contacts.fields.company.max_length: "),
        (
            with_fields(", ".join(f'{{ name = "f{n}" }}' for n in range(MAX_FIELDS + 1)), '["f0"]'),
            "5:10: error",
        ),
        (
            "".join(with_fields(A).replace('"t"', f'"t{n}"') for n in range(MAX_TABLES + 1)),
            "tables: more than 10 are given",
        ),
        (
            CONTACTS + AGENT.replace('"tasks"', '"contact"') + 'prompt = "x"',
            "the first of agents.notes.data_types: there is no table 'co",
        ),
    ],
)
def test_each_problem_of_a_table_is_reported_with_the_position(check: Check, text: str, found: str) -> None:
    told = check(text)
    assert any(found in problem for problem in told), told


def test_all_problems_of_a_table_are_reported_together(check: Check) -> None:
    fields = '{ name = "id" }, { name = "b", choices = [""] }'
    told = check(with_fields(fields, '["c"]').replace('"t"', '"tasks"'))
    assert [problem.split(": ")[2] for problem in told] == [
        "tables.tasks.name",
        "the first of tables.tasks.key",
        "tables.tasks.fields.id.name",
        "tables.tasks.fields.b.choices",
    ]


def test_reserved_table_names_cover_all_tables_of_the_device_database() -> None:
    db = sqlite3.connect(":memory:")
    for statement in schema.statements():
        db.execute(statement)
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {name for name in names - {*TABLES} if NAME.fullmatch(name)} <= DEVICE_OWN


def test_built_in_tables_fail_the_checks_of_declared_tables() -> None:
    assert all(list(problems_in(table)) for table in TABLES.values())
