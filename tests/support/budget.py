"""Which tests a run leaves to ``make slow`` and ``make soak``, and their costs; a plug-in of pytest."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

# Of CPU time, for the call of a test without a mark. A longer one is listed; it fails nothing, since the same
# test takes twice as long on another machine.
BUDGET_S: Final = 2.0
MARKS: Final = (
    "slow: a test with a server, a browser or several processes, or a long one; CI runs it in addition",
    "soak: a slow proof of which make test or make slow runs another representative",
)

KINDS: Final = ("slow", "soak")
_SERVERS: Final = frozenset({"postgres", "nats", "dovecot", "radicale"})  # fixtures: their tests are slow


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark in KINDS:
        parser.addoption(f"--{mark}", action="store_true", help=f"run the tests that are marked {mark} alone")
    parser.addoption(
        "--budget", type=float, default=BUDGET_S, help="seconds of CPU time for an unmarked test"
    )


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    config.pluginmanager.register(Budget(config))


class Budget:
    """Leaves tests with the marks ``slow`` and ``soak`` out, measures the others, and lists both."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._budget_s: float = config.getoption("--budget")
        self.left = {kind: Counter[str]() for kind in KINDS}  # items of each folder
        self.spent: dict[str, float] = {}  # seconds over the budget, by item

    @pytest.hookimpl(trylast=True)  # once every conftest.py has set its marks
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = next((kind for kind in KINDS if config.getoption(f"--{kind}")), None)
        named = {Path(word).absolute() for word in config.args}
        run: list[pytest.Item] = []
        left: list[pytest.Item] = []
        for item in items:
            kind = _kind(item)
            has_named_file = kind == "slow" and chosen is None and item.path in named
            if kind == chosen or has_named_file or _is_named(item, config.args):
                run.append(item)
                continue
            left.append(item)
            if kind is not None:
                self.left[kind][_folder(item)] += 1
        config.hook.pytest_deselected(items=left)
        items[:] = run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        before = _cpu_s()
        try:
            yield
        finally:
            spent = _cpu_s() - before
            if spent > self._budget_s and _kind(item) is None:
                self.spent[item.nodeid] = spent

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (output := getattr(self._config, "workeroutput", None)) is not None:  # of one of xdist's processes
            left = {kind: dict(counts) for kind, counts in self.left.items()}
            output["budget"] = {"left": left, "spent": self.spent}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        counts = getattr(node, "workeroutput", {}).get("budget", {"left": {}, "spent": {}})
        for kind, left in counts["left"].items():
            self.left[kind] |= Counter(left)
        self.spent |= counts["spent"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for kind, left in self.left.items():
            if left:
                terminalreporter.section(f"left to make {kind}: {left.total()}")
                folders = ", ".join(f"{folder} {count}" for folder, count in sorted(left.items()))
                terminalreporter.write_line(f'{folders}; a test of them: make test PYTEST_ARGS="FILE::TEST"')
        if self.spent:
            terminalreporter.section(f"more than {self._budget_s:g} s of CPU time, and neither slow nor soak")
            for name, seconds in sorted(self.spent.items(), key=lambda one: -one[1]):
                terminalreporter.write_line(f"{seconds:6.1f} s  {name}")


def _kind(item: pytest.Item) -> str | None:
    """Return "soak", "slow", or None for what every run has."""
    if item.get_closest_marker("soak") is not None:
        return "soak"
    case = getattr(getattr(item, "callspec", None), "id", "")
    has_server = "postgresql" in case or not _SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
    return "slow" if has_server or item.get_closest_marker("slow") is not None else None


def _is_named(item: pytest.Item, words: list[str]) -> bool:
    """Check whether one of *words* names the test, as in ``FILE::TEST`` or ``FILE::TEST[CASE]``."""
    test = item.nodeid.partition("::")[2]
    named = (word.partition("::") for word in words if "::" in word)
    return any(
        item.path == Path(path).absolute() and (test == name or test.startswith((f"{name}[", f"{name}::")))
        for path, _, name in named
    )


def _folder(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0].rpartition("/")[0]


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])
