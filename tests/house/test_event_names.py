"""The log's events are an interface: each has a dotted name, and hub/docs/log-events.md lists all."""

import re

from hub.base.log.meanings import MEANINGS
from tests.support.documents import events
from tests.support.source import Module, facts

DOTTED = re.compile(r"^[a-z_]+(\.[a-z_]+)+$")


def test_every_event_has_a_dotted_name() -> None:
    assert len(events()) > 100
    assert [event for event in events() if not DOTTED.match(event.name)] == []


def test_each_logged_event_has_a_meaning_and_each_meaning_is_of_a_logged_event() -> None:
    by_variable = {"agent.capability_registered", "agent.capability_removed"} | {
        "checkpoint.cleared",
        "checkpoint.kept",
    }
    assert ({event.name for event in events()} | by_variable) == MEANINGS.keys()
    assert [name for name, meaning in MEANINGS.items() if len(meaning.split()) < 3 or name in meaning] == []


def test_event_names_are_found_for_each_log_level() -> None:
    source = "log.info('run.moved', a=1)\nlog.error('router.full')\nprint('log.info(\"x.y\")')\n"
    assert {event.name for event in facts(Module("m", source)).events} == {"run.moved", "router.full"}
