"""The runner of the proofs: its lines, its share of the proofs, and the end of what it starts."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.proofs import __main__ as runner
from tests.proofs.__main__ import Part, choose, main, share
from tests.proofs.figures import figures, page
from tests.proofs.table import IN_CI, Proof
from tests.support.families import each

# Starts a process in its group, writes its id, and ends as its argument says.
PROGRAM = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid)
print(f"  | seed {sys.argv[2]}\\n+----")
print('{"event":"listener.opened"}\\nhub test is ready: devices 127.0.0.1:1')
if sys.argv[1] == "late":
    sys.stdout.flush()
    child.wait()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module that children can run, and take figures in a file of its own."""
    (tmp_path / "planted_proof.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "FIGURES", tmp_path / "figures.jsonl")
    monkeypatch.setattr(runner, "_git", lambda *words: "abc" if "HEAD" in words else "")
    return "planted_proof"


def run_one(proof: Proof, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    monkeypatch.setattr(runner, "PROOFS", (proof,))
    return main([proof.name, "--seed", "7", "--logs", str(folder / "logs"), "--record"])


def has_ended(pid: int) -> bool:
    """Return True if a process is gone, or waits for its new parent to take its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("ending", "outcome", "code", "said"),
    [
        ("0", "ok", 0, "seed 7"),
        ("1", "failed", 1, "seed 7"),
        ("69", "skipped", 0, "seed 7"),
        ("late", "failed", 1, "stopped after 0 minutes: KeyboardInterrupt"),
    ],
)
def test_ended_proof_prints_and_records_its_line_and_leaves_no_process(
    ending: str,
    outcome: str,
    code: int,
    said: str,
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if ending == "late":
        monkeypatch.setattr(Part, "limit_s", 1.0)
    proof = Proof("planted", "Nothing.", f"{program} {ending} {{seed}}", "soak")
    assert run_one(proof, monkeypatch, tmp_path) == code
    _, line, *rest = capfd.readouterr().out.splitlines()
    assert line.startswith(f"proof planted {outcome} ") and line.endswith(f" s: {said}")
    again = "failed: planted with seed 7; again: python -m tests.proofs planted --part 1 --seed 7"
    assert rest[-1:] == ([again] if code else [])
    pid = int((tmp_path / "logs/planted.log").read_text().split()[0])
    while not has_ended(pid):  # it is killed without a wait for its end
        os.sched_yield()
    (figure,) = map(json.loads, (tmp_path / "figures.jsonl").read_text().splitlines())
    assert (figure["proof"], figure["part"], figure["commit"], figure["seed"]) == ("planted", 1, "abc", 7)
    assert (figure["outcome"], figure["said"], figure["dirty"]) == (outcome, said, False)


def test_proof_without_its_program_is_skipped_by_name(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    proof = Proof("planted", "Nothing.", program, "soak", needs=("sh", "no-such-program"))
    assert run_one(proof, monkeypatch, tmp_path) == 0
    assert capfd.readouterr().out.endswith("proof planted skipped 0.0 s: needs no-such-program\n")


@each("minutes", [1, 2, 30, 60])
def test_shares_of_consecutive_seeds_take_the_minutes_and_lead_to_all_parts_that_fit(minutes: int) -> None:
    parts = choose([], None, None)
    shares = [share(parts, minutes, seed) for seed in range(739_950, 739_950 + len(parts))]
    assert all(sum(part.minutes for part in taken) <= minutes for taken in shares)
    fitting = {part for part in parts if part.minutes <= minutes}
    assert {part for taken in shares for part in taken} == fitting


def test_usual_minutes_of_a_part_are_those_of_its_last_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "FIGURES", tmp_path / "figures.jsonl")
    figure = {"proof": "upgrade", "part": 2}
    lines = (
        figure | {"outcome": ended, "seconds": s} for ended, s in (("ok", 90), ("ok", 300), ("skipped", 0))
    )
    (tmp_path / "figures.jsonl").write_text("\n".join(map(json.dumps, lines)))
    first, second = choose(["upgrade"], None, None)
    assert (first.minutes, second.minutes, second.limit_s) == (runner.UNKNOWN_MINUTES, 5, 900)


def test_chosen_parts_are_those_of_names_groups_and_number() -> None:
    assert [part.name for part in choose(["upgrade", "deaths"], None, None)] == [
        "deaths",
        "upgrade/1",
        "upgrade/2",
    ]
    assert [part.name for part in choose(["upgrade", "deaths"], None, 2)] == ["upgrade/2"]
    assert {part.proof.group for part in choose([], "fuzz", None)} == {"fuzz"}
    assert {part.proof.name for part in choose([], runner.CI, None)} == IN_CI


def test_page_has_the_last_figure_of_a_proof(tmp_path: Path) -> None:
    figure = {
        "proof": "deaths",
        "part": 1,
        "seconds": 90,
        "commit": "abc",
        "dirty": True,
        "day": "2026-11-30",
    }
    lines = [
        json.dumps(figure | {"outcome": outcome, "said": "a | b"}) for outcome in ("failed", "ok", "skipped")
    ]
    (tmp_path / "figures.jsonl").write_text("\n".join(lines))
    (line,) = (
        line
        for line in page(figures(tmp_path / "figures.jsonl")).splitlines()
        if line.startswith("| `deaths` ")
    )
    assert line.endswith("| yes | 1.5 | 2026-11-30, abc and changes: ok, a \\| b |")
