"""All expressions of the product against texts that nearly match: which text reaches each, and what it costs.

``python -m tests.linear`` prints a line for each that is not linear, and ends with 1 if one is reached by
foreign text. ``--table`` prints all of them, ``--full`` follows the growth up to 256 K characters.
"""

import argparse
import sys
from typing import Final, NamedTuple

from hub.extraction.prose_layout import _MOST_CHARS as SENTENCE_CHARS
from hub.text.letter_text import _LINE_CHARS as LINE_CHARS
from tests.linear.collection import collect


class Reach(NamedTuple):
    """Text that reaches an expression. *chars*: its length at most, where the callers hold to one."""

    text: str
    chars: int | None = None


_OURS: Final = "texts of this project"
_OPERATOR: Final = "the operator's own file or command"
_REQUEST: Final = "requests of operators, within the limit of a body"
_PEER: Final = "frames of devices and hubs, within the limit of a frame"
_FILES: Final = "shared files and mails"
_MODEL: Final = "answers of a model"
_SERVER: Final = "answers of a provider"

# By module, the longest name that fits; by module and name, in the second table.
MODULES: Final = {
    "protocol": Reach(_PEER),
    "storage": Reach(_OURS),
    "storage.agents.agent_snapshot": Reach("problems of settings, which name keys of requests"),
    "hub.accounts": Reach(_SERVER),
    "hub.agents": Reach(_REQUEST),
    "hub.api": Reach(_REQUEST),
    "hub.api.nouns.system": Reach(_OURS),
    "hub.cli": Reach(_OPERATOR),
    "hub.connectors": Reach(_SERVER),
    "hub.connectors.authentication": Reach("headers of mails"),
    "hub.connectors.mime": Reach("headers of mails"),
    "hub.dates": Reach(_REQUEST),
    "hub.device": Reach(_OPERATOR),
    "hub.document": Reach(_FILES),
    "hub.extraction": Reach(_FILES),
    "hub.extraction.answers": Reach(_MODEL),
    "hub.extraction.completion": Reach(_MODEL),
    "hub.extraction.outcomes": Reach(_SERVER),
    "hub.extraction.patterns": Reach("the owner's expressions, at most 1,000 characters", 1_000),
    "hub.extraction.when": Reach("sentences of files and mails", SENTENCE_CHARS),
    "hub.extraction.wording": Reach("sentences of files and mails", SENTENCE_CHARS),
    "hub.extraction.wording.lexicon": Reach(_OURS),
    "hub.links": Reach("heads of requests, within the limit of a head"),
    "hub.log": Reach("all texts of the log"),
    "hub.openclaw": Reach("frames of gateways"),
    "hub.printable": Reach("all texts that are shown"),
    "hub.runs": Reach(_FILES),
    "hub.schedules": Reach(_REQUEST),
    "hub.settings": Reach(_OPERATOR),
    "hub.text": Reach(_FILES),
}
# Attributes of a lexicon that are looked for in whole texts, not in sentences.
_WHOLE: Final = ("personal", "tales", "letters", "minutes", "tickets")


def reach_of(module: str, name: str) -> Reach | None:
    """Return the text that reaches an expression, or None for a module that is in no row."""
    if module == "hub.extraction.wording" and name.partition(".")[2] in _WHOLE:
        return MODULES["hub.extraction"]
    if module == "hub.text.letter_text" and name.isdigit():  # of ``above_quotations``, which is cached
        return Reach("lines of mails, cut", LINE_CHARS)
    rows = [row for row in MODULES if module == row or module.startswith(f"{row}.")]
    return MODULES[max(rows, key=len)] if rows else None


def is_foreign(reach: Reach) -> bool:
    """Return True unless only texts of this project reach the expression."""
    return reach.text != _OURS


LEXICONS = ("hub.extraction.when", "hub.extraction.wording")


def main() -> int:
    """Judge all expressions."""
    parser = argparse.ArgumentParser(prog="python -m tests.linear")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument(
        "--words", action=argparse.BooleanOptionalAction, help="only, or without, the lexicons"
    )
    options = parser.parse_args()
    collection = collect()

    # Imported behind the collection, which watches what the product compiles while it is imported.
    from tests.linear.__main__ import is_foreign, reach_of
    from tests.linear.sweep import worst_of

    judged = 0
    problems = [f"not known: {call}" for call in collection.unknown]
    for found in sorted(collection.found, key=lambda one: (one.module, one.name)):
        if options.words is not None and options.words != found.module.startswith(LEXICONS):
            continue
        reach = reach_of(found.module, found.name)
        if reach is None:
            problems.append(f"{found.module}:{found.name}: in no row of tests/linear/reach.py")
            continue
        judged += 1
        most = 262_144 if options.full else 16_384
        worst = worst_of(found.pattern, found.ways, bound=reach.chars, most_chars=most)
        verdict = "linear" if worst.is_linear and reach.chars is None else "bounded"
        verdict = verdict if worst.is_linear else "NOT LINEAR"
        cells = (f"{found.module}:{found.name}", "/".join(sorted(found.ways)), reach.text, reach.chars or "")
        row = " | ".join(map(str, (*cells, verdict, f"{worst.scans:.1f}", f"{worst.text!r:.90}")))
        if not worst.is_linear and is_foreign(reach):
            problems.append(row)
        if options.table:
            print(row, flush=True)  # noqa: T201 - for people
    print(f"{judged} expressions, {len(problems)} problems", *problems, sep="\n")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
