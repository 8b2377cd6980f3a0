"""Figures of proofs that ran, and the page of the handbook that is written from them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.proofs.table import IN_CI, PROOFS
from tests.support.source import ROOT

FIGURES: Final = ROOT / "tests/proofs/figures.jsonl"
MAX_SAID: Final = 240  # characters of a last line on the page
HEAD: Final = """\
# Proofs

Programs too slow for the tests: the property that each shows, and its last figures.

<!-- Generated from the code: make documents -->

`make proofs PROOFS="kills-imap ticks"` runs proofs by name, and `SEED=N` repeats a run.
`MINUTES=30` runs a share of all proofs, another one each day. `make soak` runs the group soak.
`.ci/run` runs two minutes of those marked CI: no bound of time, server elsewhere or history decides them.

Figures are in `tests/proofs/figures.jsonl`, to which `python -m tests.proofs --record` appends.
`make documents` writes this page from them.
"""


def figures(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the last figure of each part in *file* that was not skipped, by the name of its proof."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    kept = (figure for figure in map(json.loads, lines) if figure["outcome"] != "skipped")
    last = {(figure["proof"], figure["part"]): figure for figure in kept}
    found = defaultdict(list)
    for (name, _), figure in sorted(last.items()):
        found[name].append(figure)
    return found


def page(recorded: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the proofs as tables in Markdown, one for each group, with their last figures."""
    lines = [HEAD]
    for group in dict.fromkeys(proof.group for proof in PROOFS):
        lines += [
            f"## {group}",
            "",
            "| proof | what it shows | CI | minutes | last figure |",
            "|" + "---|" * 5,
        ]
        for proof in (proof for proof in PROOFS if proof.group == group):
            parts = recorded.get(proof.name, ())
            minutes = f"{sum(figure['seconds'] for figure in parts) / 60:.1f}" if parts else ""
            shown = "; ".join(
                f"{figure['day']}, {figure['commit']}{' and changes' if figure['dirty'] else ''}:"
                f" {figure['outcome']}, {figure['said'][:MAX_SAID]}"
                for figure in parts
            )
            cells = (f"`{proof.name}`", proof.shows, "yes" if proof.name in IN_CI else "", minutes, shown)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)
