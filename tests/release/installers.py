"""``python -m tests.release.installers FOLDER``: install the wheels of a folder by pip, uv tool and pipx.

Each installer makes an environment of the wheel alone, in which the demo runs by rules and names a command.
That command adds the model, with which the demo runs again. Then the other extras are added and imported.
Everything but the wheels of this project comes from the registry. Without FOLDER the wheels are built first.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from hub.base.clock import SystemClock
from tests.release.weights import PACKAGE as WEIGHTS
from tests.release.weights import build_weights
from tests.support.programs import cache_folder, installed
from tests.support.source import ROOT

TOOLS: Final = ("pipx==1.18.4", "uv==0.13.9")
EXTRAS: Final = {
    "files": "kreuzberg",
    "cluster": "asyncpg, nats",
    "ocr": "rapidocr, onnxruntime",
    "fast": "uvloop",
}
PLACEHOLDER: Final = "FOLDER-OF-WHEELS"
_OFFER: Final = "To add the small one: "


class Failed(Exception):
    """Error: a step does not do what it should; the message has its output."""


class Installer(NamedTuple):
    """Way to install the hub.

    Attributes:
        install: commands that install the wheel alone, by names of folders in braces.
        python: interpreter of the environment; *hub*: the command.
    """

    name: str
    install: tuple[str, ...]
    python: str
    hub: str


INSTALLERS: Final = (
    Installer(
        "pip",
        ("{base} -m venv {home}", "pip install --quiet --find-links {wheels} device-hub"),
        "{home}/bin/python",
        "{home}/bin/hub",
    ),
    Installer(
        "uv tool",
        ("uv tool install --quiet --python {base} --find-links {wheels} device-hub",),
        "{home}/tools/device-hub/bin/python",
        "{home}/bin/hub",
    ),
    Installer(
        "pipx",
        ("pipx install --quiet --python {base} --pip-args='--find-links {wheels}' device-hub",),
        "{home}/venvs/device-hub/bin/python",
        "{home}/bin/hub",
    ),
)


class Place:
    """Empty folder with an environment of one installer, and the folders of the demo."""

    def __init__(self, installer: Installer, folder: Path, wheels: Path, tools: Path) -> None:
        self.folder = folder
        # Of a path of its own: uv keeps a wheel by path and version, whatever is in it now.
        own = shutil.copytree(wheels, folder / "wheels")
        self._names = {"home": folder / "home", "wheels": own, "base": sys.executable}
        self.python, self.hub = (part.format(**self._names) for part in (installer.python, installer.hub))
        (commands := folder / "commands").mkdir()
        (commands / "uv").symlink_to(tools / "bin" / "uv")
        (commands / "pipx").write_text(f'#!/bin/sh\nPYTHONPATH={tools} exec {sys.executable} -m pipx "$@"\n')
        (commands / "pipx").chmod(0o755)
        home = folder / "home"
        self._variables = {
            **os.environ,
            "PATH": os.pathsep.join(map(str, (home / "bin", commands, os.environ["PATH"]))),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_TOOL_DIR": str(home / "tools"),
            "UV_TOOL_BIN_DIR": str(home / "bin"),
            "PIPX_HOME": str(home),
            "PIPX_BIN_DIR": str(home / "bin"),
            "PIPX_MAN_DIR": str(home / "man"),
        }

    def run(self, command: str) -> str:
        """Run a command of the shell in the folder, with names of folders in braces. Return its output.

        Raises:
            Failed: it ended with an error.
        """
        done = subprocess.run(
            ["sh", "-c", command.format(**self._names)],
            cwd=self.folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3_000:]}")
        return done.stdout

    def offered(self, extra: str) -> str:
        """Return the command that the installed hub names for an extra."""
        code = f"from hub.base.version import command_to_add; print(command_to_add({extra!r}))"
        return self.run(shlex.join((self.python, "-c", code))).strip()

    def add(self, extra: str) -> None:
        """Run the command that the installed hub names for an extra, with the folder of the wheels."""
        self.run(self.offered(extra).replace(PLACEHOLDER, "{wheels}"))


def steps(place: Place, installer: Installer) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps that an installer has to pass, in their order."""

    def demo_by_rules() -> None:
        shown = place.run(f"{place.hub} demo")
        _expect("5 read, 0 skipped, 0 failed, " in shown and ", 0 model requests" in shown, shown)
        _expect(shown.splitlines()[-1].endswith(_OFFER + place.offered("local")), shown)

    def demo_with_model() -> None:
        shown = place.run(f"{place.hub} demo")
        _expect("model: smollm2" in shown and _OFFER not in shown, shown)
        _expect(" model requests" in shown and ", 0 model requests" not in shown, shown)

    def imports() -> None:
        modules = ", ".join(["xllamacpp", WEIGHTS, *EXTRAS.values()])
        place.run(shlex.join((place.python, "-c", f"import {modules}")))

    for command in installer.install:
        yield command, partial(place.run, command)
    yield "hub demo, by rules", demo_by_rules
    yield "the command that it names", partial(place.add, "local")
    yield "hub demo, with the model", demo_with_model
    for extra in EXTRAS:
        yield f"the extra [{extra}]", partial(place.add, extra)
    yield "imports of all extras", imports


def _expect(holds: bool, shown: str) -> None:
    if not holds:
        raise Failed(f"the demo printed:\n{shown[-3_000:]}")


def tools() -> Path:
    """Return the folder with uv and pipx, which are installed once."""

    def command(folder: Path) -> list[str]:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *TOOLS]

    return installed(cache_folder("installers") / "-".join(TOOLS), command)


def build(target: Path) -> None:
    """Build the wheels of the hub and of the weights into *target*."""
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(target), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    build_weights(target)


def check(wheels: Path) -> bool:
    """Install by each installer and print a line for each step. Return True if all steps passed."""
    programs, clock, is_well = tools(), SystemClock(), True
    for installer in INSTALLERS:
        with tempfile.TemporaryDirectory() as folder:
            place = Place(installer, Path(folder) / "empty", wheels.absolute(), programs)
            for name, step in steps(place, installer):
                began, problem = clock.monotonic(), ""
                try:
                    step()
                except Failed as error:
                    is_well, problem = False, f"  FAILED: {error}"
                took_s = clock.monotonic() - began
                sys.stdout.write(f"{installer.name:8} {took_s:6.1f} s  {name}{problem}\n")
                sys.stdout.flush()
                if problem:
                    break  # the next steps need this one
    return is_well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            build(folder := Path(scratch))
        sys.exit(0 if check(folder) else 1)
