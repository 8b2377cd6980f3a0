"""Writes the generated documents anew: ``python -m tests.support.documents``."""

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from textwrap import fill

from click.testing import CliRunner

from hub.base.web.pages import COMMANDS as COMMAND_LIST
from hub.cli.app import hub
from hub.docs import contents
from hub.runs.file_explanations import REASONS
from protocol.items import MARKS
from protocol.items import REASONS as WEIGHED
from tests.proofs.figures import FIGURES, figures
from tests.proofs.figures import page as proofs
from tests.support import left_out, references
from tests.support.commands import command_list, commands
from tests.support.device_types import TYPES as DEVICE_TYPES
from tests.support.device_types import device_types
from tests.support.digest_examples import digest_examples
from tests.support.issue_page import issue_list
from tests.support.protocol_page import Notes, notes_in, rewrite, sections
from tests.support.protocol_schema import asyncapi, export_schema, json_schema
from tests.support.scopes_page import page as scopes
from tests.support.source import ROOT, LoggedEvent, facts, modules_of_the_product
from tests.support.vocabulary_page import page as vocabularies
from tests.support.web_types import TYPES, types

PROTOCOL = ROOT / "protocol"
PAGE = PROTOCOL / "PROTOCOL.md"
HANDBOOK = ROOT / "hub" / "docs"
CONTENTS = HANDBOOK / "README.md"
COMMANDS = ROOT / "hub" / "cli" / "commands.json"
ROUTES = ROOT / "tests" / "hub" / "api" / "routes.txt"  # who may do what, for the review of a change


def events() -> set[LoggedEvent]:
    """Every event that the hub logs."""
    modules = [module for module in modules_of_the_product() if module.name.startswith("hub")]
    return {event for module in modules for event in facts(module).events}


def notes() -> Notes:
    """The remarks beside the fields of every frame."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(PROTOCOL.glob("*.py")):
        found |= notes_in(path.read_text(encoding="utf-8"))
    return found


def device_program() -> str:
    """The device at the top of PROTOCOL.md, as it is run."""
    return PAGE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]


def meanings(title: str, of: Mapping[str, str]) -> str:
    """Return a table of terms and their meanings."""
    rows = (f"| `{term}` | {meaning} |\n" for term, meaning in of.items())
    return "".join((f"\n| {title} | meaning |\n|---|---|\n", *rows, "\n"))


def reasons() -> str:
    """Return the list of the reasons of explanations; what they name is in capital letters."""
    texts = "".join(text for both in REASONS.values() for text in both)
    names = {name: name.upper() for _, name, _, _ in Formatter().parse(texts) if name}
    names |= {"edit": "hub agents edit AGENT --set ", "when": " at TIME"}
    return (
        "\n"
        + "".join(
            f"{fill(f'- `{code}`: {because.format_map(names)}.', 118, subsequent_indent='  ')}\n"
            f"{fill(f'  To change it: {remedy.format_map(names)}.', 118, subsequent_indent='  ')}\n"
            for code, (because, remedy) in REASONS.items()
        )
        + "\n"
    )


def _with_section(page: Path, name: str, text: str, before: str | None = None) -> str:
    """Return the text of a page, or *before*, with another section."""
    whole = page.read_text(encoding="utf-8") if before is None else before
    head, mark, rest = whole.partition(f"<!-- {name} -->\n")
    if not mark:
        raise ValueError(f"{page} has no section {name}")
    return f"{head}{mark}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}"


def documents() -> dict[Path, str]:
    """Each generated document, as it should stand now."""
    extraction = HANDBOOK / "extraction.md"
    with_marks = _with_section(extraction, "marks", meanings("mark", MARKS))
    with_parts = _with_section(extraction, "parts", f"\n{left_out.table()}\n", with_marks)
    return {
        PROTOCOL / "schema.json": json_schema(),
        PROTOCOL / "asyncapi.json": asyncapi(),
        PROTOCOL / "export.json": export_schema(),
        PROTOCOL / "digests.json": digest_examples(),
        COMMANDS: commands(),
        TYPES: types(),
        DEVICE_TYPES: device_types(),
        COMMAND_LIST: command_list(),
        ROUTES: CliRunner().invoke(hub, ["routes"]).stdout,
        PAGE: rewrite(PAGE.read_text(encoding="utf-8"), sections(notes())),
        HANDBOOK / "settings.md": references.settings_page(),
        HANDBOOK / "cli.md": references.cli_page(),
        HANDBOOK / "rest.md": references.rest_page(),
        HANDBOOK / "errors.md": references.errors_page(),
        HANDBOOK / "scopes.md": scopes(),
        HANDBOOK / "metrics.md": references.metrics_page(),
        HANDBOOK / "log-events.md": references.log_events_page(events()),
        HANDBOOK / "vocabularies.md": vocabularies(),
        HANDBOOK / "modules.md": references.modules_page(),
        HANDBOOK / "proofs.md": proofs(figures(FIGURES)),
        CONTENTS: contents(),
        HANDBOOK / "write-a-device.md": _with_section(
            HANDBOOK / "write-a-device.md", "device", f"```python\n{device_program()}```\n"
        ),
        HANDBOOK / "service.md": _with_section(HANDBOOK / "service.md", "issues", issue_list()),
        HANDBOOK / "why.md": _with_section(HANDBOOK / "why.md", "reasons", reasons()),
        extraction: _with_section(extraction, "weighed", meanings("feature", WEIGHED), with_parts),
    }


def main() -> None:
    COMMANDS.write_text(commands(), encoding="utf-8")  # read by the page of the command line
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    CONTENTS.write_text(
        contents(), encoding="utf-8"
    )  # has a line of each page, also of those written just now


if __name__ == "__main__":
    main()
