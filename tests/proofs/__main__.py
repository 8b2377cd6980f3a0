"""Runner of the proofs: ``python -m tests.proofs [NAME ...]``, ``--list`` for the table.

Each part of a proof is a child process, whose output becomes a file. A line is printed when it has ended:
``proof NAME ok|failed|skipped SECONDS s: LAST LINE OF ITS OUTPUT``, with ``NAME/2`` for the second part of a
proof. Exit code 1 if one failed. ``--minutes`` takes another share of the proofs for each seed, and the seed
is the day unless it is set: after some days all proofs have run that fit.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from tests.proofs.figures import FIGURES, figures
from tests.proofs.table import IN_CI, PROOFS, Proof
from tests.support.browser import chromium
from tests.support.dovecot import why_no_dovecot
from tests.support.nats import why_no_nats
from tests.support.postgres import why_no_postgres
from tests.support.source import ROOT

UNKNOWN_MINUTES: Final = 30.0  # of a part without a figure; no part takes longer
LONGER: Final = 3  # times its usual minutes, after which a part is stopped
MIN_LIMIT_MINUTES: Final = 10.0
END_S: Final = 20.0  # from the interrupt of a part to its kill
MAX_SHOWN: Final = 40  # lines of the output of a part that failed
# Frames of a traceback of a group, and the log of a hub, which errors have below their message.
NO_LAST_LINE: Final = re.compile(r'^\W*$|":\S|^hub \S+ is ready: ')
CI: Final = "ci"  # the group of the proofs in IN_CI
UNAVAILABLE: Final = 69  # exit code of a proof that lacks something
LACKS: Final[Mapping[str, Callable[[], bool]]] = {
    "postgresql": lambda: why_no_postgres() is not None,
    "nats": lambda: why_no_nats() is not None,
    "dovecot": lambda: why_no_dovecot() is not None,
    "chromium": lambda: chromium() is None,
}


class Part(NamedTuple):
    """A part of a proof, by its number from 1, and the minutes that it took last."""

    proof: Proof
    number: int
    minutes: float = UNKNOWN_MINUTES

    @property
    def name(self) -> str:
        return f"{self.proof.name}/{self.number}" if len(self.proof.parts) > 1 else self.proof.name

    @property
    def limit_s(self) -> float:
        return 60 * max(MIN_LIMIT_MINUTES, LONGER * self.minutes)

    def command(self, seed: int) -> list[str]:
        words = f"{self.proof.command} {self.proof.parts[self.number - 1]}"
        return [sys.executable, "-m", *shlex.split(words.format(seed=seed, jobs=os.cpu_count() or 1))]


class Outcome(NamedTuple):
    """End of a part: ``ok``, ``failed`` or ``skipped``, and the last line of its output."""

    outcome: str
    seconds: float
    said: str


def choose(names: Collection[str], group: str | None, number: int | None) -> list[Part]:
    """Return the parts of the proofs in *names* and of *group*; without both, of all proofs."""
    if group == CI:
        names = IN_CI
    took = {
        (name, figure["part"]): figure["seconds"] / 60
        for name, of_parts in figures(FIGURES).items()
        for figure in of_parts
    }
    return [
        Part(proof, nth, took.get((proof.name, nth), UNKNOWN_MINUTES))
        for proof in PROOFS
        if proof.name in names or proof.group == group or not (names or group)
        for nth in range(1, len(proof.parts) + 1)
        if number in (None, nth)
    ]


def share(parts: Sequence[Part], minutes: float, seed: int) -> list[Part]:
    """Return parts that take at most *minutes* in all; consecutive seeds lead to all parts that fit."""
    shares: list[list[Part]] = []
    fitting = (part for part in parts if part.minutes <= minutes)
    for part in sorted(fitting, key=lambda part: part.minutes, reverse=True):
        left = minutes - part.minutes
        room = next((taken for taken in shares if sum(other.minutes for other in taken) <= left), None)
        if room is None:
            shares.append([part])
        else:
            room.append(part)
    return shares[seed % len(shares)] if shares else []


def lacking(proof: Proof) -> list[str]:
    """Return the programs that *proof* needs and this machine lacks."""
    return [name for name in proof.needs if LACKS.get(name, partial(_is_no_program, name))()]


def _is_no_program(name: str) -> bool:
    return shutil.which(name) is None


def run(command: Sequence[str], log: Path, limit_s: float) -> Outcome:
    """Run a command in a process group of its own, which has ended when this returns or raises."""
    began = monotonic()
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
    lines = log.read_text("utf-8", errors="replace").splitlines()
    said = next((line.strip(" |") for line in reversed(lines) if not NO_LAST_LINE.search(line)), "")
    if code is None:
        said = f"stopped after {limit_s / 60:.0f} minutes: {said}"
    outcome = {0: "ok", UNAVAILABLE: "skipped"}.get(-1 if code is None else code, "failed")
    return Outcome(outcome, round(monotonic() - began, 1), said)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt the child, so that it ends its own servers, and kill all of its group that is left."""
    if child.poll() is None:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGINT)
            child.wait(END_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def play(parts: Sequence[Part], seed: int, logs: Path, *, keeps_figures: bool) -> bool:
    """Run the parts one after another, and return True if none failed."""
    is_well = True
    for part in parts:
        log = logs / f"{part.name.replace('/', '-')}.log"
        if missing := lacking(part.proof):
            ended = Outcome("skipped", 0.0, f"needs {', '.join(missing)}")
        else:
            ended = run(part.command(seed), log, part.limit_s)
        print(f"proof {part.name} {ended.outcome} {ended.seconds:.1f} s: {ended.said}", flush=True)
        if ended.outcome == "failed":
            is_well = False
            print(*log.read_text("utf-8", errors="replace").splitlines()[-MAX_SHOWN:], sep="\n")
            again = f"python -m tests.proofs {part.proof.name} --part {part.number} --seed {seed}"
            print(f"failed: {part.name} with seed {seed}; again: {again}", flush=True)
        if keeps_figures:
            _record(part, seed, ended)
    return is_well


def _record(part: Part, seed: int, ended: Outcome) -> None:
    figure = {
        "proof": part.proof.name,
        "part": part.number,
        "commit": _git("rev-parse", "--short", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", f":!{FIGURES.relative_to(ROOT)}")),
        "day": _today().isoformat(),
        **ended._asdict(),
        "seed": seed,
    }
    with FIGURES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(figure) + "\n")


def _today() -> date:
    return datetime.now(UTC).date()


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def listing() -> str:
    """Return a line for each part: name, group, minutes that it took last, and what its proof shows."""
    return "\n".join(
        f"{part.name:22} {part.proof.group:10} {part.minutes:5.1f}  {part.proof.shows}"
        for part in choose([], None, None)
    )


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs", description="Run proofs one after another."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="proofs of --list; by default all")
    groups = sorted({CI, *(proof.group for proof in PROOFS)})
    parser.add_argument("--group", choices=groups, help=f"{CI}: those that CI runs")
    parser.add_argument("--part", type=int, metavar="K", help="only this part of each proof, from 1")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="a share that takes this long, by the seed"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the proofs and the share [default: the day]"
    )
    parser.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="for the output [default: a temporary one]"
    )
    parser.add_argument(
        "--record", action="store_true", help=f"append figures to {FIGURES.name}; then: make documents"
    )
    parser.add_argument("--list", action="store_true", help="print the table")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - {proof.name for proof in PROOFS}):
        parser.error(f"no proof is named {', '.join(unknown)}; --list prints the names")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proofs of a command line and return the exit code."""
    asked = _parsed(arguments)
    if asked.list:
        print(listing())
        return 0
    seed = _today().toordinal() if asked.seed is None else asked.seed
    parts = choose(asked.names, asked.group, asked.part)
    if asked.minutes is not None:
        parts = share(parts, asked.minutes, seed)
    if not parts:
        print("no proof fits these options", file=sys.stderr)
        return 2
    logs = asked.logs or Path(tempfile.mkdtemp(prefix="proofs-"))
    logs.mkdir(parents=True, exist_ok=True)
    print(f"{len(parts)} parts of proofs, seed {seed}, output in {logs}", flush=True)
    # A shell may let this program ignore SIGINT, and it would hand that on; SIGTERM ends it in the same way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return 0 if play(parts, seed, logs, keeps_figures=asked.record) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
