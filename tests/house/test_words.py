"""Docstrings, comments and names are plain; the number of those that are not only falls."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.house.words import REMEDIES, Finding, findings
from tests.support.families import each
from tests.support.source import ROOT
from tests.support.web_types import TYPES

# Findings that are left, by folder or pattern. Lower the number with each that is rewritten.
LEFT: Final = {
    "hub/accounts": 0,
    "hub/agents": 0,
    "hub/api": 2,
    "hub/app": 0,
    "hub/cli": 0,
    "hub/cluster": 0,
    "hub/connectors": 0,
    "hub/coordination": 0,
    "hub/docs": 0,
    "hub/device": 0,
    "hub/extraction": 0,
    "hub/health": 0,
    "hub/lab": 0,
    "hub/links": 0,
    "hub/base": 0,
    "hub/notify": 0,
    "hub/openclaw": 0,
    "hub/outbound": 0,
    "hub/runs": 0,
    "hub/schedules": 0,
    "hub/settings": 0,
    "hub/text": 0,
    "hub/*.py": 0,
    "hub/api/web/src/**/*.ts*": 3,
    "protocol": 0,
    "storage": 0,
}
# Uses of names with everyday words that are left, by folder; many are names of other folders.
NAMES_LEFT: Final = {
    "hub/accounts": 0,
    "hub/agents": 1,
    "hub/api": 15,
    "hub/app": 0,
    "hub/cli": 0,
    "hub/cluster": 0,
    "hub/connectors": 0,
    "hub/coordination": 0,
    "hub/docs": 0,
    "hub/device": 0,
    "hub/extraction": 0,
    "hub/health": 0,
    "hub/lab": 0,
    "hub/links": 0,
    "hub/base": 3,
    "hub/notify": 0,
    "hub/openclaw": 0,
    "hub/outbound": 0,
    "hub/runs": 3,
    "hub/schedules": 0,
    "hub/settings": 0,
    "hub/text": 0,
    "hub/*.py": 0,
    "hub/api/web/src/**/*.ts*": 12,
    "protocol": 4,
    "storage": 0,
}
PLANTED: Final = {
    "name": "is_told = 1\n",
    "verb": 'def f():\n    """What is left."""\n',
    "noun": 'class A:\n    """What is left."""\n',
    "word": "x = 1  # nobody looks\n",
    "long": f'"""{"word " * 26}"""\n',
}


PLANTED_IN_TYPESCRIPT: Final = f"""// {"word " * 20}
// {"word " * 6}
const a = "//"; // nobody looks
const url = "https://nobody.example";
/** Whoever stands here. */
let isTold = 1;
"""


@each("folder", sorted(LEFT))
def test_folder_has_no_new_obscure_docstring_or_name(folder: str) -> None:
    files = folder if "*" in folder else f"{folder}/**/*.py"
    sources = [path for path in sorted(ROOT.glob(files)) if path != TYPES]
    found = [one for path in sources for one in findings(path)]
    names = [one for one in found if one.kind == "name"]
    prose = [one for one in found if one.kind != "name"]
    fresh = (prose if len(prose) > LEFT[folder] else []) + (names if len(names) > NAMES_LEFT[folder] else [])
    assert fresh == [], _listed(fresh)


def test_every_folder_of_the_product_is_counted() -> None:
    folders = {f"hub/{path.name}" for path in (ROOT / "hub").iterdir() if (path / "__init__.py").exists()}
    others = {"hub/*.py", "hub/api/web/src/**/*.ts*", "protocol", "storage"}
    assert folders | others == LEFT.keys() == NAMES_LEFT.keys()


@each("kind", sorted(PLANTED))
def test_a_planted_finding_is_found(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(PLANTED[kind])
    assert [one.kind for one in findings(path)] == [kind]


def test_planted_findings_in_typescript_are_found(tmp_path: Path) -> None:
    path = tmp_path / "planted.tsx"
    path.write_text(PLANTED_IN_TYPESCRIPT)
    assert [(one.line, one.kind) for one in findings(path)] == [
        (1, "long"),
        (3, "word"),
        (5, "word"),
        (6, "name"),
    ]


def _listed(found: Iterable[Finding]) -> str:
    return "\n".join(
        f"{one.path.relative_to(ROOT)}:{one.line}: {one.text!r}: {REMEDIES[one.kind]}" for one in found
    )
