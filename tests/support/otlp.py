"""A real OpenTelemetry collector for tests, which prints the spans that it receives."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.support.postgres import free_port
from tests.support.processes import POLL_S

MOST_S: Final = 30.0  # a busy machine


def why_no_collector() -> str | None:
    """Return why no collector can be started here; None where one can."""
    return "no collector on this machine: pip install rotel" if find_spec("rotel") is None else None


class Collector:
    """A running collector; *printed* is the file with its output."""

    def __init__(self, url: str, printed: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._printed = printed
        self._process = process

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self._printed.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed *text*."""
        for _ in range(int(MOST_S / POLL_S)):
            if text in self.text:
                return
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"the collector ended with {self._process.wait(POLL_S)}")
        raise AssertionError(f"not in what the collector received: {text}\n{self.text}")

    @property
    def spans(self) -> list[dict[str, str]]:
        """What it received: for each span its fields, and its attributes by their names."""
        parts = re.split(r"^Span #\d+$", self.text, flags=re.MULTILINE)[1:]
        field = re.compile(r"^ +(?:-> )?([\w. ]+?) *: (?:\w+\((.*)\)|(.*))$", re.MULTILINE)
        return [{name: own or plain for name, own, plain in field.findall(part)} for part in parts]


@contextmanager
def running_collector(folder: Path) -> Iterator[Collector]:
    """Run a collector on a free port of this machine."""
    found = find_spec("rotel")
    assert found is not None and found.origin is not None, why_no_collector()
    port, printed = free_port(), folder / "collector.txt"
    options = ["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]
    doors = ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", "127.0.0.1:0"]
    binary = Path(found.origin).parent / "rotel-agent"
    with printed.open("wb") as output:
        process = subprocess.Popen([binary, "start", *options, *doors], stdout=output, stderr=output)
    collector = Collector(f"http://127.0.0.1:{port}", printed, process)
    try:
        collector.wait_for("Starting Rotel")
        yield collector
    finally:
        process.kill()
        process.wait()
