"""``hub agents preview``: what an agent would find with another prompt, model or tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.formats import usd
from hub.cli.options import FilePath, example, hub_option, json_option, text_in
from hub.cli.runs import print_estimate
from hub.cli.talk import agent_names, path_of, talk
from hub.printable import one_line, spelled

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_PROMPT_IS_IGNORED: Final = (
    "the prompt changes nothing: no model of this agent follows one, and neither do rules or the small model;"
    " set an endpoint in [model] of hub.toml (hub help models)"
)
_MOST_CHARACTERS: Final = 300  # of a quote or a value


@click.command(epilog=example("hub agents preview notes --prompt new.txt --files 50"))
@click.argument("name", shell_complete=agent_names)
@click.option(
    "--prompt",
    type=FilePath(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="File with the prompt to try; - is the standard input.",
)
@click.option("--model", metavar="NAME", help="Model to try: [model] or one of [[fallback_models]].")
@click.option(
    "--data-type", "data_types", multiple=True, metavar="TABLE", help="Table to find records of, as in tasks."
)
@click.option(
    "--files", type=click.IntRange(min=1), metavar="N", help="Read only the N newest files or messages."
)
@click.option(
    "--estimate", is_flag=True, help="Estimate the size and cost of the preview, without making it."
)
@hub_option
@json_option
@click.pass_context
def preview(
    ctx: click.Context,
    name: str,
    prompt: Path | None,
    model: str | None,
    data_types: Sequence[str],
    files: int | None,
    estimate: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Show what an agent would find with another prompt, model or tables.

    Reads its present documents and asks the model, within its budgets. Nothing is sent to the
    device or stored as found. The answers are kept: a run with the same settings does not pay
    for them again. Ctrl-C ends the preview. Exits with 1 if a document could not be read.
    """
    given = {
        "prompt": None if prompt is None else text_in(prompt),
        "model": model,
        "data_types": list(data_types) or None,
        "newest": files,
    }
    body = {key: value for key, value in given.items() if value is not None}
    with talk(state) as hub:
        if estimate:
            print_estimate(hub.post(path_of("agents", name, "estimate"), body), as_json=as_json)
            return
        found = _whole(hub.follow(path_of("agents", name, "preview"), body=body), as_json=as_json)
    if as_json:
        show.print_json("preview", found)
    else:
        _print(found)
    if prompt is not None and not found["reads_prompt"]:
        show.report(_PROMPT_IS_IGNORED)
    ctx.exit(Exit.FAILED if found["failure"] or found["problems"] else Exit.DONE)


def _whole(steps: Iterator[Mapping[str, Any]], *, as_json: bool) -> dict[str, Any]:
    """Return the last step of a preview with the items and problems of all steps.

    Raises:
        Failure: the hub stopped before the preview was done.
    """
    items: list[Any] = []
    problems: list[Any] = []
    for step in steps:
        items += step["items"]
        problems += step["problems"]
        if step["is_done"]:
            return {**step, "items": items, "problems": problems}
        if not as_json:
            show.report(_progress(step))
    raise Failure("the hub stopped before the preview was done", Exit.TRY_AGAIN, next_step="start it again")


def _progress(step: Mapping[str, Any]) -> str:
    of = "" if step["to_read"] is None else f" of {step['to_read']}"
    return f"{step['read']}{of} read, {_changes(step)}"


def _changes(step: Mapping[str, Any]) -> str:
    return ", ".join(f"{step[change]} {change}" for change in _SIGNS)


def _print(found: Mapping[str, Any]) -> None:
    for item in sorted(found["items"], key=lambda one: (one["path"], one["start"] or 0)):
        show.out("\n".join(_lines(item)))
    for problem in (*found["problems"], *filter(None, [found["failure"]])):
        where = f"{problem['path']}: " if problem["path"] else ""
        show.report(f"{problem['code']}: {where}{problem['message']}")
    if found["unlisted"]:
        show.report(f"{found['unlisted']} more items or problems are counted only; try --files N")
    if found["left_out"]:
        show.report(
            f"{found['left_out']} new items are left out by items_per_file or items_per_run of [limits]"
        )
    settled = f", {found['settled']} are settled with these settings" if found["settled"] else ""
    show.out(f"{found['read']} documents read{settled}: {_changes(found)}, {found['known']} as they are")
    tokens = found["prompt_tokens"] + found["completion_tokens"]
    before = f", {found['answered_before']} answered before" if found["answered_before"] else ""
    cost = f", {usd(found['usd'])} USD" if found["usd"] else ""
    show.out(f"{found['model_requests']} model requests{before}, {tokens} tokens{cost}")


def _lines(item: Mapping[str, Any]) -> Iterator[str]:
    verdict = f" ({item['verdict']})" if item["verdict"] not in (None, "open") else ""
    yield f"{_SIGNS[item['change']]} {item['table']}  {spelled(item['title'])}{verdict}"
    before = item["before"] or {}
    for field, value in item["data"].items() if item["change"] == "changed" else ():
        if before.get(field) != value:
            yield f"    ! {field} was {_short(before.get(field))}, is {_short(value)}"
    quote = f': "{_short(item["quote"])}"' if item["quote"] else ""
    yield f"    {one_line(item['path'])}{quote}"
    for mark in item["warnings"]:
        yield f"    ! {mark}"


def _short(value: object) -> str:
    text = one_line("-" if value is None else str(value))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
