"""All issues that the hub's code finds: the registry of their ids, read from the code that creates them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from textwrap import fill
from typing import NamedTuple, get_args

from hub.health.issues import Severity
from storage.kernel.database import Trouble
from tests.support.source import ROOT

_ID = re.compile(r"[a-z_]+\.[a-z_{}]+")
_FOLDERS = (
    *("hub/health", "hub/app/gateway_checks.py", "hub/cli/doctor.py"),
    *("hub/api/resources/system.py", "hub/api/resources/nodes.py"),
)
_SEVERITIES = {str(one) for one in Severity}
_OMITTED = "…"
_CREATORS = {"error", "warning", "notice", "_issue", "about", "finding", "severity"}


class IssueKind(NamedTuple):
    """Kind of an issue: its possible severities, its sentence and what mends it, with … for names."""

    id: str
    severities: tuple[str, ...]
    sentence: str
    fix: str


def _text(node: ast.expr | None, scope: ast.AST, line: int) -> str:
    """Return a text of the code, as the last assignment before *line* gives it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                _text(part, scope, line) if isinstance(part, ast.Constant) else _OMITTED for part in parts
            )
        case ast.BinOp(left=left, op=ast.Add()):
            return _text(left, scope, line)
        case ast.IfExp(body=body):
            return _text(body, scope, line)
        case ast.BoolOp(values=[*_, last]):
            return _text(last, scope, line)
        case ast.Name(id=name):
            for at in sorted(_assigned(scope, name), key=lambda one: -one[0]):
                if at[0] < line:
                    return _text(at[1], scope, at[0])
    return _OMITTED


def _assigned(scope: ast.AST, name: str) -> Iterator[tuple[int, ast.expr]]:
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield node.lineno, value
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for one, value in zip(targets, values, strict=True):
                    if isinstance(one, ast.Name) and one.id == name:
                        yield node.lineno, value


def _severities(call: ast.Call, keywords: dict[str | None, ast.expr]) -> set[str]:
    spelled = ast.unparse(call.func) + " " + " ".join(ast.unparse(one) for one in call.args[:2])
    spelled += ast.unparse(keywords["severity"]) if "severity" in keywords else ""
    named = {one for one in _SEVERITIES if re.search(rf"\b{one}\b", spelled.lower())}
    return named or ({"error"} if "_issue" in spelled else {"error", "warning"})


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.AST]]:
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in scopes:
        yield from ((node, scope) for node in ast.walk(scope) if isinstance(node, ast.Call))


def _partial_fix(scope: ast.AST) -> ast.expr | None:
    """Return the fix that a partial of the function gives to all its findings."""
    calls = (
        node for node in ast.walk(scope) if isinstance(node, ast.Call) and ast.unparse(node.func) == "partial"
    )
    return next((one.value for call in calls for one in call.keywords if one.arg == "fix"), None)


@cache
def issue_kinds() -> tuple[IssueKind, ...]:
    """Return every kind of issue, by id."""
    found: dict[str, IssueKind] = {}
    paths = [
        path
        for name in _FOLDERS
        for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))
    ]
    for path in sorted(paths):
        for call, scope in _calls(ast.parse(path.read_text("utf-8"))):
            keywords = {one.arg: one.value for one in call.keywords}
            function = ast.unparse(call.func)
            if (
                function == "partial"
                or function.startswith("log.")
                or not (_CREATORS & set(re.split(r"\W", function)) or " if " in function)
            ):
                continue
            place = next((n for n, one in enumerate(call.args[:3]) if _ids(one)), None)
            if place is None:
                continue
            sentence = (
                _text(call.args[place + 1], scope, call.lineno) if len(call.args) > place + 1 else _OMITTED
            )
            fix = _text(keywords.get("fix", _partial_fix(scope)), scope, call.lineno)
            for id in _ids(call.args[place]):
                before = found.get(id, IssueKind(id, (), sentence, fix))
                severities = {*before.severities, *_severities(call, keywords)}
                found[id] = before._replace(
                    severities=tuple(one for one in map(str, Severity) if one in severities)
                )
    return tuple(found[id] for id in sorted(found))


def _ids(node: ast.expr) -> list[str]:
    """Return the ids that an expression may be."""
    match node:
        case ast.Constant(value=str(text)) if _ID.fullmatch(text):
            return [text]
        case ast.JoinedStr(values=[ast.Constant(value="database."), _]):
            return [f"database.{trouble}" for trouble in get_args(Trouble)]
        case ast.IfExp(body=body, orelse=other):
            return [*_ids(body), *_ids(other)]
        case ast.Call(func=ast.Name(id="_kind")):
            return ["gateway.other_version", "gateway.credentials_refused", "gateway.refused"]
    return []


def _said(text: str) -> str:
    """Return a text without names in a row; one that only names the case says so."""
    text = re.sub(rf"{_OMITTED}(?:[\s;:,]*{_OMITTED})+", _OMITTED, text)
    return text if re.search(r"\w{2}", text) else "it names the case"


def issue_list() -> str:
    """Return the list of all issues for the handbook."""
    texts = (
        fill(
            f"- `{one.id}` ({' or '.join(one.severities)}): {_said(one.sentence)}."
            f" To mend it: {_said(one.fix)}.",
            118,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        for one in issue_kinds()
    )
    return "\n" + "\n".join(texts) + "\n\n"
