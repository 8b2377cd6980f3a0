"""Examples of words and of their Markdown, which the sinks and the package in TypeScript have in common.

``python -m tests.support.markdown_escapes`` writes the file of examples anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hub.text.rows.markdown_escapes import escape
from tests.support.active_texts import MARKDOWN, filled

FILE: Final = Path(__file__).with_suffix(".json")
# Words that people write, which stay as they are.
ORDINARY: Final = (
    *(
        "a < b",
        "C# and F#",
        "5 * 3 = 15",
        "snake_case_name",
        "it costs $5",
        "up to 100%",
        "R&D, a & b",
        "2^10",
    ),
    *("see https://example.org/a_b?c=1&d=2#top", "http://localhost:8080/#/route", "mail ana@example.org"),
    *(
        "at 10:30, chapter 3: the end",
        "#1 of 3",
        "~2 h, ~~no~~",
        "C:\\Users\\Ana",
        "Hi! (really?)",
        "**now**",
    ),
    *(
        "\u2705 done",
        "\u26d4",
        "- a\n\n- b",
        "1. a\n2. b",
        "> quoted",
        "# Head",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ),
    *(
        "caf\u00e9 \u2014 na\u00efve",
        "\u4f60\u597d",
        "\U0001f600",
        "",
        "'quoted' \"twice\"",
        "a -- b",
        "x = y",
    ),
)
# Words of which a part is escaped though a person may mean it.
MEANT: Final = (
    *(
        "[URGENT] call",
        "`make`",
        "$5 or $10",
        "5$",
        "std::vector",
        "x<5",
        "\\\\server\\share",
        "{name}",
        "#work",
    ),
    *(
        "call [[Ana]]",
        "AT&amp;T",
        "---",
        "a\\",
        "\\*",
        "\\\\*",
        "\U0001f4c5 2026-12-01",
        "100%%",
        "zotero://select",
    ),
)


def examples() -> Iterator[tuple[str, str]]:
    """Yield words and their Markdown: ordinary words, and each form alone and after backslashes."""
    forms = [filled(form) for form in MARKDOWN.values()]
    before = [f"Pay {marks}{form} today" for form in forms for marks in ("\\", "\\\\")]
    for words in (*ORDINARY, *MEANT, *forms, *before):
        yield words, escape(words)


if __name__ == "__main__":
    lines = (json.dumps(example, ensure_ascii=False) for example in examples())
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")
