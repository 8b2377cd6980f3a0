"""The watchdog looks at every service of the hub: one that hangs is not overlooked for being new."""

import ast
from pathlib import Path

import hub.app
from hub.app.hub import VITAL

# Why the watchdog has no promise of theirs.
NOT_WATCHED = {"watchdog": "it is the one who looks; where it hangs there is no beat anyway"}


def services() -> dict[str, bool]:
    """Every service that the app adds, also where only some hubs have it; whether it has turns."""
    found: dict[str, bool] = {}
    for file in Path(hub.app.__path__[0]).glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            is_function = isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and "supervisor" in ast.unparse(function):
                found |= _added(function)
    return found


def _added(function: ast.AST) -> dict[str, bool]:
    return {
        ast.literal_eval(call.args[0]): any(keyword.arg == "turns" for keyword in call.keywords)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("add", "supervisor.add")
    }


def test_every_service_has_turns_that_the_watchdog_looks_at() -> None:
    known = services()
    assert known.keys() >= {"loop lag", "dispatcher", "leases", "model", "requests", "settings"}
    assert {name for name, is_watched in known.items() if not is_watched} == NOT_WATCHED.keys()


def test_every_vital_service_is_one_of_the_hub() -> None:
    assert services().keys() > VITAL.keys()
