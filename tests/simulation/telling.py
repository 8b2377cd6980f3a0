"""Formatting of jobs and errors for the trace."""

import traceback
from functools import partial
from types import FunctionType

from storage.runs.run_claims import Gates
from tests.simulation.store import Commit

MOST_TOLD = 160  # characters of an argument


def given(commit: Commit) -> str:
    """Format the arguments of a job, shortened to fit a line."""
    given = [*commit.args, *(f"{name}={_told_value(value)}" for name, value in commit.kwargs.items())]
    return ", ".join(_told_value(value)[:MOST_TOLD] for value in given)


def _told_value(value: object) -> str:
    """Format a value with a sorted order of sets, because their order differs between processes."""
    match value:
        case Gates():
            return f"Gates({sorted(value.online)}, settling {sorted(value.settling)})"
        case frozenset() | set():
            return str(sorted(value))
        case partial():
            return f"{value.func.__name__}(...)"  # its own words tell where it lies in memory
        case FunctionType():
            return value.__name__  # likewise
        case _:
            return str(value)


def told(exc: BaseException) -> str:
    """Format an error with its nested errors, and where in the hub it was raised."""
    if isinstance(exc, BaseExceptionGroup):
        return " and ".join(told(inner) for inner in exc.exceptions)
    places = [
        f"{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(exc.__traceback__)
        if "/hub/" in frame.filename or "/storage/" in frame.filename
    ]
    return f"{type(exc).__name__}: {exc} ({' > '.join(places)})"
