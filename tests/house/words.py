"""Counts docstrings, comments and names that do not say plainly what they are about.

``python -m tests.house.words hub/links`` prints each finding below a folder, with its line.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.source import ROOT, Module, facts, modules_of_the_product

MAX_WORDS: Final = 25  # of a sentence

# Words in place of a noun, and everyday words in place of a term.
BANNED: Final = re.compile(
    r"\b(told|whoever|whomever|nobody|somebody|heard|wanted|wishes|stands|standing|in hand|let go|lets go"
    r"|taken up|put off|puts off|thrown out|is gone|of the kind|as it was said|held against)\b",
    re.IGNORECASE,
)
# Everyday words in names of functions, variables and classes, in place of a term.
NOT_TERMS: Final = re.compile(
    r"(told|tells?|telling|said|says?|heard|hears?|want(s|ed)?|wish(es|ed)?|gone|there|came|comes|whoever|nobody"
    r"|somebody|stands|standing|beside|looks?|meant|kept|keeps)",
    re.IGNORECASE,
)
NAME_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
# In TypeScript: lines that are comments, together, and blocks; names that are declared.
COMMENTS: Final = re.compile(r"(?:^[ \t]*//.*\n)+|(?<=[;{},)] )//.*|/\*(?:.|\n)*?\*/", re.MULTILINE)
# In Python: a string is matched first, so that it is skipped. tokenize of Python 3.11 is written in Python.
LEXEMES: Final = re.compile(
    r'''[rbfu]{0,2}(?:"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')|(?P<comment>#[^\n]*)|(?P<name>\w+)''',
    re.IGNORECASE | re.DOTALL,
)
DECLARED: Final = re.compile(r"\b(?:const|let|function|interface|type|class) (\w+)")
REMEDIES: Final = {
    "name": "use a term of the field",
    "verb": "begin with a verb of verbs.txt",
    "noun": "begin with a noun that names the subject",
    "word": "name who or what it is",
    "long": f"write sentences of at most {MAX_WORDS} words",
}
VERBS: Final = frozenset((ROOT / "tests" / "house" / "verbs.txt").read_text(encoding="utf-8").split())
NO_NOUN: Final = re.compile(
    r"(what|who|whose|whom|which|how|why|where|when|whether|it|ones?|that|those|these|this|there|some|something"
    r"|somebody|nobody|another|no|all|as|at|so|from|of|in|answers|reads|tells|asks|finds|makes|sends|brings|takes"
    r"|keeps|gives|knows|serves|counts|several|each|every|implements)\b",
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """A docstring, comment or name that is to be rewritten.

    Attributes:
        kind: a key of ``REMEDIES``; ``name`` for each use of a name.
    """

    path: Path
    line: int
    kind: str
    text: str


def findings(path: Path) -> Iterator[Finding]:
    """Return the findings of a source file."""
    text = path.read_text(encoding="utf-8")
    yield from (_in_python if path.suffix == ".py" else _in_typescript)(path, text)


def _in_typescript(path: Path, text: str) -> Iterator[Finding]:
    """Return the findings in comments, and in the names that a source declares."""
    for found in COMMENTS.finditer(text):
        words = re.sub(r"^[\s/*]+|[\s*/]+$", "", found[0], flags=re.MULTILINE)
        yield from _prose(path, text.count("\n", 0, found.start()) + 1, words)
    for found in DECLARED.finditer(text):
        if _is_everyday(found[1]):
            yield Finding(path, text.count("\n", 0, found.start()) + 1, "name", found[1])


def _in_python(path: Path, text: str) -> Iterator[Finding]:
    for of, raw, line in facts(_module(path, text)).docstrings:
        words = inspect.cleandoc(raw)
        first = re.split(r"[\s.,;:]", words, maxsplit=1)[0].lower()
        if of == "function":
            if first not in VERBS:
                yield Finding(path, line, "verb", words)
        elif of != "module" and NO_NOUN.match(words):
            yield Finding(path, line, "noun", words)
        yield from _prose(path, line, words)
    for lexeme in LEXEMES.finditer(text):
        comment, name = lexeme.groups()
        if comment:
            yield from _prose(path, text.count("\n", 0, lexeme.start()) + 1, comment)
        elif name and _is_everyday(name):
            yield Finding(path, text.count("\n", 0, lexeme.start()) + 1, "name", name)


def _module(path: Path, text: str) -> Module:
    """Return the module of the product at *path*, whose facts are collected once for all rules."""
    parts = path.relative_to(ROOT).with_suffix("").parts if path.is_relative_to(ROOT) else ("",)
    return _modules().get(".".join(parts).removesuffix(".__init__")) or Module("", text)


@cache
def _modules() -> dict[str, Module]:
    return {module.name: module for module in modules_of_the_product()}


@cache
def _is_everyday(name: str) -> bool:
    """Check whether a part of *name* is an everyday word; a name is used some ten times."""
    return any(map(NOT_TERMS.fullmatch, NAME_PARTS.findall(name)))


def _prose(path: Path, line: int, words: str) -> Iterator[Finding]:
    if match := BANNED.search(words):
        yield Finding(path, line, "word", match[0])
    for sentence in re.split(r"(?<=[.;:!?])\s|\n\s*\n", words):
        if len(sentence.split()) > MAX_WORDS:
            yield Finding(path, line, "long", sentence)


def main() -> int:
    """Print the findings below the folders of the command line."""
    for folder in sys.argv[1:]:
        for path in sorted((ROOT / folder).rglob("*.py")) or [ROOT / folder]:
            for one in findings(path):
                shown = " ".join(one.text.split())[:100]
                sys.stdout.write(f"{one.path.relative_to(ROOT)}:{one.line}: {one.kind}: {shown}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
