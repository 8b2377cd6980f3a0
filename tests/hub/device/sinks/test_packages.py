"""Targets of packages of others, found by their entry points."""

from pathlib import Path

import pytest

from hub.device.settings import check_device_file
from hub.device.sinks.configured import sink_of
from hub.device.sinks.target import target_of_package
from protocol.errors import HubError
from tests.hub.device.sinks.bench import SinkBench

MODULE = """\
from pathlib import Path
from hub.text.rows.lines import Markdown
from hub.device.sinks.text_file import TextFile

class Broken(TextFile):
    def read(self, places, tables):
        assert not self.__dict__, "no such board"

def make(options):
    return (Broken if options.get("is_broken") else TextFile)(Path(options["path"]), Markdown())
"""
SETTINGS = """\
hub = ["ws://h:1"]
roots = ["."]
[[sinks]]
name = "board"
kind = "package"
provider = "pinboard"
options = { path = "board.md" }
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with one that offers a sink."""
    info = tmp_path / "pinboard-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pinboard\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hub.sinks]\npinboard = pinboard:make\n")
    (tmp_path / "pinboard.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_sink_of_a_package_writes_approved_rows(package: Path) -> None:
    (package / "device.toml").write_text(SETTINGS)
    (sink,) = check_device_file(package / "device.toml").usable().sinks
    assert sink.kind == "package"
    sink.options["path"] = str(package / "board.md")
    bench = SinkBench(package)
    bench.approve({"title": "Call Ana"})
    assert bench.synchronize(sink_of(sink).target).written == 1
    assert (package / "board.md").read_text().startswith("- [ ] Call Ana ^hub-")


def test_exception_in_a_sink_package_is_a_problem_of_the_sink(package: Path) -> None:
    bench = SinkBench(package)
    bench.approve({"title": "Call Ana"})
    target = target_of_package("pinboard", {"path": package / "x", "is_broken": True})
    assert bench.synchronize(target).problem == "AssertionError: no such board"


@pytest.mark.parametrize(
    ("provider", "words"),
    [("pinbord", "did you mean 'pinboard'"), ("pinboard", "the sink 'pinboard' cannot be used: 'path'")],
)
def test_missing_sink_package_or_refused_options_raise_an_error_with_the_reason(
    package: Path, provider: str, words: str
) -> None:
    with pytest.raises(HubError, match=words):
        target_of_package(provider, {})
