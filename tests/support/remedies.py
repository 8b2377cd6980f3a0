"""Commands that texts of the product name, read from its sources: a new text is in the list by itself."""

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from hub.cli.app import hub
from tests.support.source import ROOT, Module, modules_of_the_product, tree_of

PLACEHOLDER: Final = "NAME"  # in place of a value that is known only when the text is made
PARTS: Final = ("hub", "protocol", "storage")
PAGE: Final = "hub/api/web/src"  # of the browser
_ARTICLES: Final = "".join(rf"(?<!\b{word} )" for word in ("the", "The", "a", "A", "this", "its", "another"))
_WORD: Final = r"(?:'[^'{}]*'|\"[^\"{}]*\"|[^\s;,:()\"'`])+"
_COMMAND: Final = re.compile(rf"{_ARTICLES}(?<![\w/.-])hub ({_WORD}(?: {_WORD})*)")
_SENTENCE: Final = re.compile(r"(?<!\.)\.(?: |$)")
_FIELD: Final = re.compile(r"\{[^{}]*\}")
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?<![:\w])//[^\n]*", re.DOTALL)
_PUT_IN: Final = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}|\{[a-z][\w.]*\}")
_OF_PAGE: Final = re.compile(r"[\"'`>}]([^\"`<>{}\n]*\bhub [a-z][^\"`<>{}\n]*)(?=[\"`<{\n])")
_WITH_FLAGS: Final = re.compile(r"commandOf\(([\"`])(hub [^\"`]*)\1, \{([^{}]*)\}\)")
_FLAG: Final = re.compile(r"\"?([a-z][\w-]*)\"?(?::|,|$)")
_CHMOD: Final = re.compile(r"\bchmod \S+ (\S+)")
_NUMBERED: Final = re.compile(rf"{PLACEHOLDER}(\d+)")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]+")
# Last identifiers of values without a blank or a sign of a shell: names of things, ids, numbers, fixed words.
_SAFE: Final = re.compile(
    "account|agent|agent_name|anew|called|chunk_tokens|code|column|connector|device|else|FILES|free|grant|id|"
    "items|_KEY|key|label|listener|MIN_END|name|named|node_id|number|scope|setting|shown|sign|tables|tick_in|"
    "topic|typed|value"
)
_VALUE: Final = re.compile(r"-.*|[+~/].*|[A-Z0-9].*|.*[=/_\d].*|.*\.[a-z]+")


class NamedCommand(NamedTuple):
    """Command that a text of a source file names: the words that belong to it."""

    file: str  # or the name of the module
    line: int
    words: list[str]

    @property
    def is_whole(self) -> bool:
        """True if the text gives arguments, so that none may be missing; else it names the command alone."""
        return self.words[-1:] != ["..."] and any(map(_VALUE.fullmatch, self.words))


def _modules_of(part: str) -> Iterator[Module]:
    return (module for module in modules_of_the_product() if module.name.partition(".")[0] == part)


def named_commands(part: str) -> Iterator[NamedCommand]:
    """Yield the commands in the texts of a package, without those of docstrings."""
    for module in _modules_of(part):
        for line, text in _texts(tree_of(module)):
            for words in commands_in(_FIELD.sub(PLACEHOLDER, text)):
                yield NamedCommand(module.name, line, words)


def unquoted_values(part: str) -> Iterator[str]:
    """Yield the values in commands of a package that may need quotes, and get none by ``shell_word``."""
    for module in _modules_of(part):
        for node in ast.walk(tree_of(module)):
            if not isinstance(node, ast.JoinedStr):
                continue
            parts = [
                str(part.value) if isinstance(part, ast.Constant) else f"{PLACEHOLDER}{number}"
                for number, part in enumerate(node.values)
            ]
            text = "".join(parts)
            words = [word for command in commands_in(text) for word in command]
            words += [command[1] for command in _CHMOD.finditer(text)]
            for number in {int(found) for word in words for found in _NUMBERED.findall(word)}:
                value = ast.unparse(node.values[number])
                *_, last = _IDENTIFIER.findall(value)
                is_made_here = re.search(rf"\b{last} = .{{0,150}}?\bshell_word\(", module.source, re.DOTALL)
                if "shell_word(" not in value and not _SAFE.fullmatch(last) and not is_made_here:
                    yield f"{module.name}:{node.lineno}: {value}"


def commands_of_page() -> Iterator[NamedCommand]:
    """Yield the commands in the texts of the page, and those of ``commandOf`` with their options."""
    for file in sorted(path for path in (ROOT / PAGE).rglob("*.ts*") if not path.name.endswith(".d.ts")):
        source = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), file.read_text(encoding="utf-8"))
        text = _PUT_IN.sub(PLACEHOLDER, source)
        texts = [(found.start(1), found[1]) for found in _OF_PAGE.finditer(text)]
        for found in _WITH_FLAGS.finditer(text):
            flags = [_FLAG.match(part.strip()) for part in found[3].split(",")]
            options = [f"--{flag[1]} {PLACEHOLDER}" for flag in flags if flag]
            texts.append((found.start(2), " ".join((found[2], *options))))
        for start, named in texts:
            is_command = text[start - 1] in '"`' and named.startswith("hub ")  # without prose
            for words in [shlex.split(named)] if is_command else commands_in(named):
                line = text.count("\n", 0, start) + 1
                yield NamedCommand(str(file.relative_to(ROOT)), line, words)


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the commands that a text names, each up to the first word of prose; none if it is all prose."""
    for found in _COMMAND.finditer(text) if "hub " in text else ():  # a search for each text takes long
        is_quoted = text[: found.start()].endswith("'")
        named_there = text[found.start(1) :].partition("'")[0] if is_quoted else found[1]
        words = shlex.split(_SENTENCE.split(named_there)[0])
        if (named := _without_prose(words))[1:]:
            yield named


def _without_prose(words: list[str]) -> list[str]:
    named, rest = ["hub"], list(words)
    command: click.Command = hub
    context = click.Context(hub)
    while isinstance(command, click.Group) and rest:
        inner = command.get_command(context, rest[0])
        if inner is None:
            break
        named.append(rest.pop(0))
        command, context = inner, click.Context(inner, parent=context)
    takes_value = {
        name
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag
        for name in option.opts
    }
    if len(named) == 1:
        return named
    while rest and (_VALUE.fullmatch(rest[0]) or rest[0] == "..." or named[-1] in takes_value):
        named.append(rest.pop(0))
    return named[:-1] if named[-1] in takes_value and not rest else named


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module with their lines; values in a text are replaced."""
    nodes = list(ast.walk(tree))
    passed_over = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    passed_over |= {id(part) for node in joined for part in ast.walk(node) if part is not node}
    for node in nodes:
        if id(node) in passed_over:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
