"""The log's events are an interface: every name is in the catalogue of ARCHITECTURE.md."""

import re

from tests.support.events import ROOT, catalogue, logged_events

DOTTED = re.compile(r"^[a-z_]+(\.[a-z_]+)+$")


def test_the_catalogue_of_events_is_current() -> None:
    written = (ROOT / "hub" / "ARCHITECTURE.md").read_text()
    section = written.split("<!-- events -->\n")[1].split("\n<!-- end -->")[0]
    assert section == catalogue(), "run 'make documents'"


def test_every_event_has_a_dotted_name() -> None:
    for path in sorted((ROOT / "hub").rglob("*.py")):
        for event in logged_events(path.read_text(), str(path)):
            assert DOTTED.match(event.name), event


def test_an_event_is_found_whatever_its_level() -> None:
    source = "log.info('run.moved', a=1)\nlog.error('router.full')\nprint('log.info(\"x.y\")')\n"
    assert [event.name for event in logged_events(source, "m")] == ["run.moved", "router.full"]
