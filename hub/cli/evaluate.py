"""``hub eval``: precision, recall, cost and time of an agent on a gold file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli import show
from hub.cli.failure import Exit, Failure
from hub.cli.options import USER, config_option, example, json_option, state_option, user_option

if TYPE_CHECKING:
    from hub.app.evaluation import EvaluationFile, StoredEvaluation
    from hub.extraction.gold import GoldDocument, Tally
    from hub.settings.agent_settings import AgentSettings
    from hub.settings.settings import Settings

NANOS: Final = 1_000_000_000  # of a US dollar
_REPORT_EVERY: Final = 10  # documents
_FORMS: Final = {"USD": ".4f", "seconds": ".1f"}


@click.command(epilog=example("hub eval --agent notes --gold gold/"))
@click.option("--agent", "name", required=True, metavar="NAME", help="The agent of the settings file.")
@click.option(
    "--gold",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Documents with the records to find in them, one JSON object a line.",
)
@config_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N documents.")
@click.option(
    "--least-f1",
    type=click.FloatRange(0, 1),
    metavar="F1",
    help="Exit with 1 when F1 of all tables is less.",
)
@user_option
@state_option
@json_option
@click.pass_context
def eval(
    ctx: click.Context,
    name: str,
    gold: Path,
    config: Path,
    limit: int | None,
    least_f1: float | None,
    state: Path,
    as_json: bool,
) -> None:
    """Measure how well an agent finds what a person found.

    Uses the agent's own settings and model. Needs no running hub and no device; stores and
    delivers no records. Sends new requests to the model, within the budget of a run. Next to
    each figure is its change since the last evaluation of the same documents.
    """
    from hub.app.evaluation import EvaluationFile

    settings = _settings(config)
    agent = _agent(settings, name, ctx.meta.get(USER))
    documents, digest = _documents(gold)
    now = _evaluated(settings, agent, documents[:limit], digest)
    file = EvaluationFile(state, user=agent.user, agent=agent.name)
    earlier = _earlier(file)
    before = next((one for one in reversed(earlier or ()) if one.is_like(now)), None)
    if as_json:
        show.print_json("eval", {"agent": name, "gold_file": str(gold), **_as_json(now, before)})
    else:
        _print(now, before)
    _report_remarks(now)
    if earlier is not None and not now.evaluation.unread:
        _store(file, [*earlier, now])
    f1 = _all(now).f1
    is_missed = least_f1 is not None and (now.evaluation.unread or f1 is None or f1 < least_f1)
    if is_missed:
        show.report(
            f"not met: F1 is {_compared(f1, None)}; at least {least_f1:g} on all documents is required"
        )
    ctx.exit(Exit.FAILED if is_missed else Exit.DONE)


def _settings(config: Path) -> "Settings":
    from hub.settings.problems import SettingsInvalid
    from hub.settings.reading import check_settings

    try:
        return check_settings(config).usable()
    except SettingsInvalid as error:
        for problem in error.problems:
            show.report(str(problem))
        raise click.exceptions.Exit(Exit.SETTINGS) from error


def _agent(settings: "Settings", name: str, user: str | None) -> "AgentSettings":
    found = [one for one in settings.agents if one.name == name and user in (None, one.user)]
    if len(found) == 1:
        return found[0]
    if found:
        users = ", ".join(one.user for one in found)
        raise Failure(
            f"several users have an agent {name}: {users}", Exit.USAGE, next_step="choose one: --user NAME"
        )
    names = ", ".join(one.name for one in settings.agents) or "none"
    raise Failure(f"there is no agent {name} in the settings; agents: {names}", Exit.USAGE)


def _documents(gold: Path) -> tuple[list["GoldDocument"], str]:
    """Return the documents of a gold file and its digest. Print its problems and exit if it has any."""
    from hub.extraction.gold import BadGold, gold_digest, read_gold

    data = gold.read_bytes()
    try:
        documents = read_gold(data.decode())
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        show.report(f"{gold}:{len(lines)}: not UTF-8")
    except BadGold as error:
        for line, problem in error.problems:
            show.report(f"{gold}:{line}: {problem}")
    else:
        return documents, gold_digest(data)
    raise click.exceptions.Exit(Exit.SETTINGS)


def _evaluated(
    settings: "Settings", agent: "AgentSettings", documents: list["GoldDocument"], digest: str
) -> "StoredEvaluation":
    import anyio
    import msgspec

    from hub.agents.prompts import rendered, variables_of
    from hub.app.evaluation import Means, StoredEvaluation, evaluate
    from hub.clock import SystemChance, SystemClock
    from hub.metrics import Metrics
    from hub.settings.agent_findings import setup_in
    from hub.settings.declared import declared_agent, declared_templates
    from hub.version import VERSION

    def on_read(count: int) -> None:
        if count % _REPORT_EVERY == 0:
            show.report(f"{count} of {len(documents)} documents")

    declared = declared_agent(
        agent, run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns
    )
    setup = setup_in(declared, {one.name: one for one in declared_templates(settings)})
    if declared.template is not None and setup.template is None:
        raise Failure(
            f"the template {declared.template} is not in the settings, so its prompt is unknown",
            Exit.SETTINGS,
            next_step="add it to the settings: [[templates]]",
        )
    declared = msgspec.structs.replace(declared, prompt=rendered(setup.prompt_in_use, variables_of(setup)))
    means = Means(settings, SystemClock(), SystemChance(), Metrics(VERSION))

    async def evaluated() -> StoredEvaluation:
        evaluation = await evaluate(documents, declared, means, on_read=on_read)
        return StoredEvaluation(at=show.clock.now().isoformat(), gold=digest, evaluation=evaluation)

    return anyio.run(evaluated)


def _earlier(file: "EvaluationFile") -> "list[StoredEvaluation] | None":
    """Return the stored evaluations of the agent. None: they cannot be read, so that no other is stored."""
    import msgspec

    try:
        return file.read()
    except (msgspec.MsgspecError, OSError) as error:
        show.report(f"cannot read {file.path}, so there is no comparison: {error}")
        return None if isinstance(error, OSError) else []


def _store(file: "EvaluationFile", evaluations: "list[StoredEvaluation]") -> None:
    """Store the evaluations for the next comparison."""
    try:
        file.write(evaluations)
    except OSError as error:
        show.report(f"not stored for the next comparison: {file.path}: {error.strerror}")


def _print(now: "StoredEvaluation", before: "StoredEvaluation | None") -> None:
    rows = list(_rows(now, before))
    show.print_table(("table", "labels", "found", "correct", "P", "R", "F1", "fields"), rows)
    show.out()
    show.print_facts(dict(_facts(now, before)))


def _rows(now: "StoredEvaluation", before: "StoredEvaluation | None") -> Iterator[tuple[object, ...]]:
    earlier = {} if before is None else _by_table(before)
    for name, figures in _by_table(now).items():
        was = earlier.get(name, {})
        yield name, *(_compared(value, was.get(key)) for key, value in figures.items())


def _facts(now: "StoredEvaluation", before: "StoredEvaluation | None") -> Iterator[tuple[str, object]]:
    yield "model", now.evaluation.model or "none: only rules"
    yield "documents", now.evaluation.documents
    earlier = {} if before is None else _spent(before)
    for name, value in _spent(now).items():
        yield name, _compared(value, earlier.get(name), _FORMS.get(name, ".3f"))
    if before is not None:
        yield "compared with", show.moment(before.at)


def _by_table(stored: "StoredEvaluation") -> dict[str, dict[str, float | None]]:
    tallies = {str(table): tally for table, tally in stored.evaluation.tallies.items()}
    return {name: _figures(tally) for name, tally in {**tallies, "all": _all(stored)}.items()}


def _spent(stored: "StoredEvaluation") -> dict[str, float]:
    one = stored.evaluation
    return {
        "documents failed": one.failed,
        "pieces given up": one.given_up,
        "answers unparsable": one.unparsable,
        "requests": one.spent.requests,
        "tokens in": one.spent.prompt_tokens,
        "tokens out": one.spent.completion_tokens,
        "USD": one.spent.cost_nanos / NANOS,
        "seconds": one.seconds,
    }


def _report_remarks(now: "StoredEvaluation") -> None:
    one = now.evaluation
    if one.model is None:
        show.report("no model is set, so only rules were used: add [model] to hub.toml")
    if one.left_out:
        show.report(f"{one.left_out} labels left out: their tables are not in data_types of this agent")
    if one.unread:
        show.report(f"{one.unread} documents were not read: {one.budget}")
        show.report("the figures cover the other documents only; they are neither compared nor stored")


def _as_json(now: "StoredEvaluation", before: "StoredEvaluation | None") -> dict[str, Any]:
    one = now.evaluation
    return {
        "at": now.at,
        "gold": now.gold,
        "model": one.model,
        "documents": one.documents,
        "unread": one.unread,
        "budget": one.budget or None,
        "left_out": one.left_out,
        "failed": one.failed,
        "given_up": one.given_up,
        "unparsable": one.unparsable,
        "requests": one.spent.requests,
        "prompt_tokens": one.spent.prompt_tokens,
        "completion_tokens": one.spent.completion_tokens,
        "usd": one.spent.cost_nanos / NANOS,
        "seconds": round(one.seconds, 3),
        "tables": {str(table): _figures(tally) for table, tally in one.tallies.items()},
        "all": _figures(_all(now)),
        "before": None if before is None else _as_json(before, None),
    }


def _figures(tally: "Tally") -> dict[str, float | None]:
    return {
        "labels": tally.labelled,
        "found": tally.found,
        "right": tally.right,
        "precision": tally.precision,
        "recall": tally.recall,
        "f1": tally.f1,
        "fields": tally.field_share,
    }


def _all(stored: "StoredEvaluation") -> "Tally":
    from hub.extraction.gold import in_all

    return in_all(stored.evaluation.tallies)


def _compared(now: float | None, was: float | None, form: str = ".3f") -> str:
    """Format a figure and its change since the last evaluation: ``0.812 +0.031``, or ``0.812 =``."""
    if now is None:
        return show.NOTHING
    form = "d" if isinstance(now, int) else form
    if was is None:
        return f"{now:{form}}"
    return f"{now:{form}} =" if now == was else f"{now:{form}} {now - was:+{form}}"
