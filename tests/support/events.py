"""The catalogue of log events, read off the code: name, level, where it is logged."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LEVELS = ("debug", "info", "warning", "error")


class LoggedEvent(NamedTuple):
    """One name, as one module logs it."""

    name: str
    level: str
    module: str


def logged_events(source: str, module: str) -> Iterator[LoggedEvent]:
    """Every ``log.<level>("name", ...)`` of a module's source."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=level),
                args=[ast.Constant(value=str(name)), *_],
            ) if level in LEVELS:
                yield LoggedEvent(name, level, module)


def catalogue() -> str:
    """All events of ``hub`` as the table in ARCHITECTURE.md."""
    events = {
        event
        for path in sorted((ROOT / "hub").rglob("*.py"))
        for event in logged_events(path.read_text(), path.relative_to(ROOT).with_suffix("").as_posix())
    }
    rows = [f"| `{event.name}` | {event.level} | `{event.module}` |" for event in sorted(events)]
    return "\n".join(["| event | level | where |", "|---|---|---|", *rows])
