"""The command line of a scenario that is a program."""

import argparse
import inspect
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn, get_args

import anyio

Verdict = tuple[str, bool]  # what to print, and whether all is as it must be


def run(play: Callable[..., Awaitable[Verdict]]) -> NoReturn:
    """Play in a temporary folder, print the verdict, and exit with 1 if something is wrong.

    Args:
        play: takes the folder; each of its other arguments is an option with a default value.
    """
    parser = argparse.ArgumentParser(description=(inspect.getdoc(play) or "").partition("\n")[0])
    _, *options = inspect.signature(play).parameters.values()
    for option in options:
        choices, kind = get_args(option.annotation) or None, type(option.default)
        name = f"--{option.name.replace('_', '-')}"
        parser.add_argument(name, type=kind, choices=choices, default=option.default)
    with tempfile.TemporaryDirectory() as folder:
        told, is_well = anyio.run(partial(play, Path(folder), **vars(parser.parse_args())))
    sys.stdout.write(f"{told}\n")
    sys.exit(0 if is_well else 1)
