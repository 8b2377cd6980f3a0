"""Regular expressions that mean the same in every release of Python that the hub supports."""

import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_POSSESSIVE_GROUP: Final = re.compile(r"(?<!\\)\)(?:[*+?]|\{+[\d,]+\}+)\+")


def test_patterns_with_possessive_groups_are_refused() -> None:
    """Python before 3.11.5 goes on at a wrong place after one (gh-106052); Debian 12 has 3.11.2."""
    assert _POSSESSIVE_GROUP.search(r"(?:a[^x]+x){1,8}+d")
    assert not _POSSESSIVE_GROUP.search(r"(?>(?:a[^x]+x)*)d\)++")
    sources = [path for part in ("hub", "protocol", "storage") for path in (_ROOT / part).rglob("*.py")]
    found = [
        f"{path.relative_to(_ROOT)}:{number}: write (?>(?:...)*) for (?:...)*+"
        for path in sources
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if _POSSESSIVE_GROUP.search(line)
    ]
    assert sources
    assert not found, "\n".join(found)
