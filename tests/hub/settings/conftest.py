"""A settings file, and the problems of texts in it."""

from pathlib import Path

import pytest

from hub.settings.reading import check_settings
from tests.support.clock import FakeClock
from tests.support.settings import Check


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Path of a settings file that is not there yet."""
    return tmp_path / "hub.toml"


@pytest.fixture
def check(file: Path) -> Check:
    """Return a function that lists the problems of a text, each as ``line:column: severity: ...``."""

    def problems(text: str, *, serving: bool = True, **environ: str) -> list[str]:
        file.write_text(text, "utf-8")
        found = check_settings(file, environ=environ, serving=serving, clock=FakeClock()).problems
        return [str(problem).removeprefix(f"{file}:") for problem in found]

    return problems
