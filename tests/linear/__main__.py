"""All expressions of the product against texts that nearly match: which text reaches each, and what it costs.

``python -m tests.linear`` prints a line for each that is not linear, and ends with 1 if one is reached by
foreign text. ``--table`` prints all of them, ``--full`` follows the growth up to 256 K characters.
"""

import argparse
import sys

from tests.linear.collection import collect

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
    collection = collect(has_words=options.words is not False)

    # Imported behind the collection, which watches what the product compiles while it is imported.
    from tests.linear.reach import is_foreign, reach_of
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
        most = 262_144 if options.full else 8_192
        worst = worst_of(found.pattern, found.ways, bound=reach.chars, most_chars=most)
        verdict = "linear" if worst.is_linear and reach.chars is None else "bounded"
        verdict = verdict if worst.is_linear else "NOT LINEAR"
        cells = (f"{found.module}:{found.name}", "/".join(sorted(found.ways)), reach.text, reach.chars or "")
        row = " | ".join(map(str, (*cells, verdict, f"{worst.scans:.1f}", f"{worst.text!r:.90}")))
        if not worst.is_linear and is_foreign(reach):
            problems.append(row)
        if options.table:
            print(row, flush=True)  # noqa: T201 - for people
    print(*problems, f"{judged} expressions, {len(problems)} problems", sep="\n")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
