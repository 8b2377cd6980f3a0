"""What is found in the templates and agents of hub.toml by looking at them together."""

import re

import pytest

from hub import docs
from tests.support.settings import Check

TEMPLATE = """\
[[templates]]
name = "researcher"
prompt = "Find what {{ agent }} promised about {{ project }}."
default_configuration = { depth = 2 }
configuration_schema = '''
{"required": ["project"], "additionalProperties": false,
 "properties": {"project": {"type": "string"}, "depth": {"type": "integer"}}}'''
"""
AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
"""


def test_an_agent_that_is_what_its_template_asks_for_is_no_finding(check: Check) -> None:
    assert check(TEMPLATE + AGENT + 'template = "researcher"\nconfig = { project = "x" }') == []


def test_the_template_agent_and_slot_of_the_handbook_are_right(check: Check) -> None:
    (block,) = re.findall(r"```toml\n(\[\[templates\]\].*?)```", docs.page("agents"), re.DOTALL)
    assert all(table in block for table in ("[[agents]]", "[[agents.slots]]"))
    assert check(block) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            TEMPLATE + AGENT + 'template = "researcher"\nprompt = "x"',
            ("9:8: error", "$: missing: project", "researcher"),
        ),
        (
            TEMPLATE + AGENT + 'template = "researcher"\nconfig = { project = "x", dept = 1 }',
            ("there is no key dept; known are depth, project",),
        ),
        (
            AGENT + 'prompt = "Find {{ projct }}."\nconfig = { project = "x" }',
            ("6:10: error: agents.notes.prompt", "'projct'", "did you mean 'project'"),
        ),
        (AGENT + 'template = "reseacher"', ("6:12: warning: agents.notes.template", "hub templates put")),
        (
            AGENT + 'schedule = { cron = "0 7 * * *" }',
            (
                "6:12: error: agents.notes.schedule: its runs cannot start without prompt",
                "template that has one",
            ),
        ),
        (
            '[[agents]]\nname = "calendar"\nslots = [{ label = "standup", every_s = 900, duration_s = 60 }]',
            ("3:9: error: agents.calendar.slots: nothing can wake it without device",),
        ),
        (
            '[[templates]]\nname = "t"\n' + AGENT + 'template = "t"\nschedule = { cron = "0 7 * * *" }',
            ("agents.notes.schedule: its runs cannot start without prompt",),
        ),
        (TEMPLATE + TEMPLATE, ("another template has this name", "line 2")),
        ('[[templates]]\nname = "t"\nconfiguration_schema = "{"', ("3:24", "is no JSON")),
        (
            '[[templates]]\nname = "t"\nconfiguration_schema = { type = "objet" }',
            ("templates.t.configuration_schema: $.type",),
        ),
        (
            '[[templates]]\nname = "t"\ndefault_configuration = { a = 1 }\n'
            'configuration_schema = { properties = { a = { type = "string" } } }',
            ("3:25: error: templates.t.default_configuration: $.a: a text is expected",),
        ),
        (
            '[[templates]]\nname = "t"\nprompt = "Find {{ this one }}."',
            ("3:10: error: templates.t.prompt", "opens no variable"),
        ),
    ],
)
def test_an_invalid_value_is_reported_with_its_position(
    check: Check, text: str, words: tuple[str, ...]
) -> None:
    (told,) = check(text)
    assert [word for word in words if word not in told] == []


def test_an_external_id_belongs_to_one_agent(check: Check) -> None:
    one = AGENT + 'prompt = "x"\nexternal_id = "crm-7"\n'
    (told,) = check(one + one.replace('"notes"\ndevice', '"mail"\ndevice'))
    assert "14:15: error: agents.mail.external_id: another agent" in told
    assert "line 7" in told
