"""``hub eval --calibrate``: find the size of chunks for a model, and write it into the settings."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure, using

if TYPE_CHECKING:
    from hub.app.calibration import Calibration, Measured, Plan
    from hub.app.evaluation import Means
    from hub.extraction.gold import GoldDocument
    from hub.runs.run_order import AgentConfig
    from hub.settings.shared import Shared

_KEY: Final = "model.chunk_tokens"
_NANOS: Final = 1_000_000_000  # of a US dollar


def run_calibration(
    means: "Means",
    agent: "AgentConfig",
    documents: "Sequence[GoldDocument]",
    config: Path,
    *,
    is_written: bool,
    is_first: bool,
    shared: "Shared | None",
    as_json: bool,
) -> None:
    """Find the size of chunks for the only model of the settings, print it, and write it on request.

    Args:
        is_written: write without a question.
        is_first: the model is ``[model]`` of the file, whose size can be written.
        shared: settings that the nodes share; they have the model then, and the file is not written.
    """
    import anyio

    from hub.app.calibration import CannotCalibrate, calibrate, model_to_calibrate, plan
    from hub.app.model import price_of

    model = model_to_calibrate(means.settings)
    planned = plan(documents, agent, means.settings, price_of(model))
    _report_plan(planned, model.name, has_price=model.has_price)

    def on_measured(one: "Measured") -> None:
        show.report(f"chunks of {one.chunk_tokens} tokens: {one.found} of {one.labels} labels found")

    async def calibrated() -> "Calibration":
        return await calibrate(documents, agent, means, planned, on_measured=on_measured)

    try:
        found = anyio.run(calibrated)
    except CannotCalibrate as error:
        raise Failure(str(error), Exit.FAILED) from error
    if as_json:
        show.print_json("eval.calibration", _json(found, model.name))
    else:
        _print(found)
    if shared is not None and shared.text is not None:
        show.report(
            f"{shared.name} has the model: write there, into [model]: chunk_tokens = {found.chunk_tokens}",
            f"edit the output of hub config show --revision {shared.number}, then: hub config push FILE",
        )
    elif not is_first:
        show.report(f"write it beside the model {model.name}: chunk_tokens = {found.chunk_tokens}")
    elif found.chunk_tokens == model.chunk_tokens:
        show.report(f"{config} has this size already")
    elif is_written or _is_confirmed(found.chunk_tokens, config):
        _write(config, found.chunk_tokens)
    else:
        show.report(f"not written; with --write, or: hub config set {_KEY}={found.chunk_tokens}")


def _report_plan(planned: "Plan", name: str, *, has_price: bool) -> None:
    cost = f", {planned.cost_nanos / _NANOS:.2f} USD" if has_price else ""
    show.report(
        f"asks {name} about {planned.questions} questions: about {planned.tokens:,} tokens{cost}; never more"
        f" than {planned.most_tokens:,} tokens or the budget of a run"
    )


def _print(found: "Calibration") -> None:
    headers = (
        "chunk_tokens",
        "labels",
        "found",
        "R",
        "answers cut off",
        "requests",
        "tokens",
        "USD",
        "seconds",
    )
    show.print_table(
        headers,
        [
            (
                one.chunk_tokens,
                one.labels,
                one.found,
                f"{one.recall:.3f}",
                one.cut_off,
                one.requests,
                one.tokens,
                f"{one.cost_nanos / _NANOS:.4f}",
                f"{one.seconds:.1f}",
            )
            for one in found.measured
        ],
    )
    show.out()
    facts: dict[str, object] = {"chunk_tokens": found.chunk_tokens}
    facts["estimated R"] = f"{found.share:.3f}; with the best size {found.best_share:.3f}"
    if found.answer_tokens is not None:
        facts["answers end at"] = f"{found.answer_tokens} tokens"
    show.print_facts(facts)
    if found.is_cut_short:
        show.report("the budget ended before larger sizes were measured: a larger one may do as well")


def _json(found: "Calibration", name: str) -> dict[str, Any]:
    return {
        "model": name,
        "chunk_tokens": found.chunk_tokens,
        "estimated_recall": found.share,
        "best_recall": found.best_share,
        "answer_tokens": found.answer_tokens,
        "cut_short": found.is_cut_short,
        "measured": [
            {
                "chunk_tokens": one.chunk_tokens,
                "labels": one.labels,
                "found": one.found,
                "recall": one.recall,
                "cut_off": one.cut_off,
                "requests": one.requests,
                "tokens": one.tokens,
                "usd": one.cost_nanos / _NANOS,
                "seconds": round(one.seconds, 3),
            }
            for one in found.measured
        ],
    }


def _is_confirmed(size: int, config: Path) -> bool:
    question = f"write {_KEY} = {size} into {config}?"
    return sys.stdin.isatty() and click.confirm(question, default=True, err=True)


def _write(config: Path, size: int) -> None:
    """Write the size into the settings file; comments and order stay."""
    from hub.settings.edits import CannotEdit, edited, written_in_vain
    from hub.settings.reading import SettingsFile, check_text

    try:
        with using(config, "write", Exit.CANNOT_CREATE):
            text = edited(config.read_bytes().decode(), {_KEY: size})
            reading = check_text(text, config)
            reading.usable()
            SettingsFile(config).write(text)
    except CannotEdit as error:
        raise Failure(str(error), Exit.SETTINGS) from error
    if reading.places is not None:
        for problem in written_in_vain([_KEY], text, reading.places):
            show.report(str(problem))
    show.report(f"written into {config}: {_KEY} = {size}; a running hub uses it after hub reload")
