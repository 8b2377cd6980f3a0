"""Which tests a run leaves to ``make soak``, and what an ordinary test may cost; a plug-in of pytest."""

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
    "slow: a scenario of make test, with processes, servers or a browser of its own",
    "soak: a slow proof of which make test runs another representative",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run what make test leaves out, and nothing else")
    parser.addoption(
        "--quick",
        action="store_true",
        help="leave slow tests and PostgreSQL out, but in files that are named",
    )
    parser.addoption(
        "--budget", type=float, default=BUDGET_S, help="seconds of CPU time for an unmarked test"
    )


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    config.pluginmanager.register(Budget(config))


class Budget:
    """Leaves tests marked ``soak`` out, measures the others, and lists both at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._budget_s: float = config.getoption("--budget")
        self.left: Counter[str] = Counter()  # how many items of each name
        self.spent: dict[str, float] = {}  # seconds over the budget, by item

    @pytest.hookimpl(trylast=True)  # once every conftest.py has set its marks
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if any("::" in word for word in config.args):  # a test that is asked for by its name is run
            return
        soaked = {item for item in items if item.get_closest_marker("soak") is not None}
        left = set(items) - soaked if config.getoption("--soak") else soaked
        if config.getoption("--quick"):
            named = {Path(word).absolute() for word in config.args}
            left |= {item for item in items if _is_slow(item) and item.path not in named}
        config.hook.pytest_deselected(items=[item for item in items if item in left])
        items[:] = _dealt([item for item in items if item not in left])
        self.left.update(_name(item) for item in soaked & left)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        before = _cpu_s()
        try:
            yield
        finally:
            spent = _cpu_s() - before
            is_marked = any(item.get_closest_marker(mark) is not None for mark in ("slow", "soak"))
            if spent > self._budget_s and not is_marked:
                self.spent[item.nodeid] = spent

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (output := getattr(self._config, "workeroutput", None)) is not None:  # of one of xdist's processes
            output["budget"] = {"left": dict(self.left), "spent": self.spent}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        counts = getattr(node, "workeroutput", {}).get("budget", {"left": {}, "spent": {}})
        self.left |= Counter(counts["left"])
        self.spent |= counts["spent"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.left:
            terminalreporter.section(f"left to make soak: {self.left.total()}")
            for name, count in sorted(self.left.items()):
                terminalreporter.write_line(name if count == 1 else f"{name} ({count} of it)")
        if self.spent:
            terminalreporter.section(f"more than {self._budget_s:g} s of CPU time, and neither slow nor soak")
            for name, seconds in sorted(self.spent.items(), key=lambda one: -one[1]):
                terminalreporter.write_line(f"{seconds:6.1f} s  {name}")


def _dealt(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return *items* so that each of xdist's processes begins with its share of the files with slow tests.

    A process gets the items of one part of the list; at the end of the run short ones are to be left.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files = dict.fromkeys(item.path for item in items if item.get_closest_marker("slow") is not None)
    turns = {path: number % processes for number, path in enumerate(files)}
    short = [item for item in items if item.path not in turns]
    dealt: list[pytest.Item] = []
    for process in range(processes):
        dealt += [item for item in items if turns.get(item.path) == process]
        room = len(items) * (process + 1) // processes - len(dealt)
        dealt += short[:room]
        short = short[room:]
    return dealt


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None or "postgresql" in item.nodeid


def _name(item: pytest.Item) -> str:
    """The test without its case; one that runs on SQLite as well is not named, but its file."""
    test, _, case = item.nodeid.partition("[")
    return f"{test.partition('::')[0]} on PostgreSQL" if "postgresql" in case else test


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])
