"""Every regular expression of the product: those compiled at import, and those compiled or given at a call.

All functions of ``re`` end in ``re._compile``, which is watched while every module is imported and while
``_build_the_rest`` runs. A call that did not run then is found in the source, and its expression is evaluated
in its module. ``Collection.unknown`` names the calls for which neither works: no expression may escape.
Wants a process of its own, in which nothing of the product is imported yet.
"""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

PACKAGES: Final = ("protocol", "storage", "hub")
_FUNCTIONS: Final = ("compile", "match", "search", "sub", "subn", "split", "findall", "finditer", "fullmatch")
_CALLED: Final = re.compile(rf"\.(?:{'|'.join(_FUNCTIONS)})\b")
# Modules with calls whose expression is made of an argument: of escaped text, or of our own.
AT_RUN_TIME: Final = {
    "hub.api.binding": "re.escape of a parameter's name",
    "hub.text.patterns": "one character of an owner's expression",
    "hub.extraction.validate": "re.escape of a quote",
    "hub.extraction.when.language": "built for every language below",
    "hub.extraction.wording.languages": "built for every language below",
    "hub.base.toml.parsing": "re.escape of a key, in the operator's own file",
    "storage.kernel.migrations.versions.0001_first_tables": "our own statements",
}

# Modules that try each expression at one place, and take the first that matches or stop.
_AT_ONE_PLACE: Final = (
    *("hub.base.toml.parsing", "hub.base.toml.positions", "hub.base.toml.problems"),
    *("hub.text.letter_text", "hub.text.quotations"),
)

Pattern = re.Pattern[Any]


class Found(NamedTuple):
    """Expression with the module that compiles it, its name or line there, and the methods that are called.

    ``search`` stands for all methods that look for a match at every place, and for all where none is known.
    """

    pattern: Pattern
    module: str
    name: str
    ways: frozenset[str]


class Collection(NamedTuple):
    """Expressions of the product, and the calls of ``re`` whose expression is not known."""

    found: list[Found]
    unknown: list[str]


def collect(*, has_words: bool = True) -> Collection:
    """Import the whole product and return its expressions, each once; those of lexicons if *has_words*."""
    compiled: dict[tuple[str, int], list[Pattern]] = {}
    compile_one = re._compile  # type: ignore[attr-defined]

    def watched(pattern: Any, flags: int) -> Pattern:
        made: Pattern = compile_one(pattern, flags)
        caller = sys._getframe(2)
        if (module := caller.f_globals.get("__name__", "")).partition(".")[0] in PACKAGES:
            compiled.setdefault((module, caller.f_lineno), []).append(made)
        return made

    re._compile = watched  # type: ignore[attr-defined]
    modules = [importlib.import_module(name) for name in _names()]
    named = _build_the_rest(has_words=has_words)
    re._compile = compile_one  # type: ignore[attr-defined]
    unknown: list[str] = []
    calls: dict[tuple[str, str], frozenset[str]] = {}
    lines: dict[tuple[str, int], frozenset[str]] = {}
    for module in modules:
        unknown += _evaluate(module, compiled, lines)
        for name, way in _calls(module):
            for place in (module.__name__, ""):
                calls[place, name] = calls.get((place, name), frozenset()) | {way}
    for module in modules:
        for name, value in vars(module).items():
            for pattern in _patterns_in(value):
                named.setdefault(pattern, (module.__name__, name))
    by_attribute = _lexicon_ways()
    found: dict[Pattern, Found] = {}
    for (place, line), patterns in compiled.items():
        for pattern in patterns:
            at = named.get(pattern, (place, str(line)))
            ways = by_attribute.get(at[1].partition(".")[2]) if at[0].endswith(".wording") else None
            ways = ways or calls.get(at) or calls.get(("", at[1])) or lines.get((place, line))
            if at[0].endswith(".wording"):
                ways = ways or frozenset(("match",))
            if ways is None:
                ways = frozenset(("tokens",) if at[0] in _AT_ONE_PLACE else ("search", "fullmatch"))
            found.setdefault(pattern, Found(pattern, *at, ways))
    return Collection(list(found.values()), unknown)


def _names() -> Iterator[str]:
    for package in PACKAGES:
        yield package
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield module.name


def _build_the_rest(*, has_words: bool) -> dict[Pattern, tuple[str, str]]:
    """Build the expressions that the product compiles when they are first used; return their names."""
    from hub.extraction import chunk, injection_warnings, prompt_injection, task_lists
    from hub.extraction.wording import recognition
    from hub.extraction.wording.languages import ATTRIBUTES, languages
    from hub.text import quotations
    from hub.text.redaction import BUILT_IN, Redaction
    from protocol.secret_rules import RedactionRule
    from storage.effects.user_data import pattern_of_names

    named: dict[Pattern, tuple[str, str]] = {}
    for language in languages() if has_words else ():
        code, time = language.code, language.time
        built = [(name, pattern) for name in ATTRIBUTES for pattern in language.patterns(name)]
        for name in ("rewrites", *language.forms):
            built += [("rewrites", pattern) for pattern, _ in language.rules(name)]
        named |= {pattern: ("hub.extraction.wording", f"{code}.{name}") for name, pattern in built}
        built = [("sayings", saying.pattern) for saying in time.all_sayings]
        built += [("rewrites", pattern) for pattern, _ in time.compiled_rewrites]
        named |= {pattern: ("hub.extraction.when", f"{name} ({code})") for name, pattern in built}
    named[chunk._day_with_point()] = "hub.extraction.chunk", "day"
    for convention in (task_lists.MARKDOWN, task_lists.TASKPAPER, task_lists.TODO_TXT):
        convention.read("2026-05-06 @a")
    prompt_injection._dress()
    prompt_injection._overriding()
    for unread in recognition.unread_languages().values():
        named[unread.pattern] = "hub.extraction.wording.recognition", unread.code
    list(recognition._by_dates("1.1.", date(2026, 1, 1)))
    quotations.above_quotations()
    list(injection_warnings._hidden_runs("\u200b" * 99))
    pattern_of_names(["Anna Rossi", "Anna", "laptop-2"])
    Redaction([RedactionRule(name=name) for name in BUILT_IN], "a@b.example")
    return named


def _lexicon_ways() -> dict[str, frozenset[str]]:
    """Return how the rules for prose match each attribute of a lexicon, by their source."""
    from hub.extraction import prose, prose_layout

    source = "".join(Path(module.__file__ or "").read_text() for module in (prose, prose_layout))
    searched = re.findall(r'\bhas\("(\w+)"|\("(\w+)"\)\[0\]\.(?!match)', source)
    ways = dict.fromkeys(map("".join, searched), frozenset(("search",)))
    return ways | {"rewrites": frozenset(("fullmatch",))}


def _evaluate(
    module: ModuleType,
    compiled: dict[tuple[str, int], list[Pattern]],
    lines: dict[tuple[str, int], frozenset[str]],
) -> Iterator[str]:
    """Add the expressions of calls that did not run; yield those that cannot be evaluated."""
    for call in _calls_in(module.__file__):
        match call:
            case ast.Attribute(value=ast.Call(func=ast.Attribute(value=ast.Name(id="re"))), attr=function):
                lines[module.__name__, call.lineno] = frozenset((_way(function),))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=function)) if (
                function in _FUNCTIONS
            ):
                places = [(module.__name__, line) for line in range(call.lineno, (call.end_lineno or 0) + 1)]
                if function != "compile":
                    lines |= {place: frozenset((_way(function),)) for place in places}
                if any(place in compiled for place in places):
                    continue
                given = [call.args[0], *(word.value for word in call.keywords if word.arg == "flags")]
                given += call.args[1:] if function == "compile" else call.args[3:]
                try:
                    source, *flags = (
                        eval(compile(ast.Expression(one), "", "eval"), vars(module)) for one in given
                    )
                    made = re.compile(source, sum(flag for flag in flags if isinstance(flag, re.RegexFlag)))
                except Exception as error:
                    if module.__name__ not in AT_RUN_TIME:
                        yield f"{module.__name__}:{call.lineno}: {ast.unparse(call.args[0])}: {error}"
                else:
                    compiled[module.__name__, call.lineno] = [made]


@cache
def _calls_in(file: str | None) -> list[ast.Attribute | ast.Call]:
    """Return the calls and attributes in a source; none where no method of expressions is named."""
    source = Path(file).read_text() if file is not None and file.endswith(".py") else ""
    if not _CALLED.search(source):
        return []
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute | ast.Call)]


def _calls(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield each name of which a method of expressions is used, and the way: ``tokens`` from given places."""
    nodes = _calls_in(module.__file__)
    at_places = {id(call.func) for call in nodes if isinstance(call, ast.Call) and len(call.args) > 1}
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=method):
                if method in _FUNCTIONS[1:]:
                    way = _way(method)
                    yield name, "tokens" if way != "search" and id(node) in at_places else way


def _way(method: str) -> str:
    return method if method in ("match", "fullmatch") else "search"


def _patterns_in(value: object, depth: int = 3) -> Iterator[Pattern]:
    """Yield the expressions in a value of a module: itself, in containers, and in attributes of classes."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, Mapping):
        for one in [*value.keys(), *value.values()]:
            yield from _patterns_in(one, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _patterns_in(one, depth - 1)
    elif depth and isinstance(value, type) and value.__module__.partition(".")[0] in PACKAGES:
        for one in vars(value).values():
            yield from _patterns_in(one, depth - 1)
