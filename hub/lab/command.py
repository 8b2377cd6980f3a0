"""``hub eval``: precision, recall, cost and time of an agent on a gold file or folder; its reports.

``hub eval --calibrate``: find the size of chunks for a model, and write it into the settings.
"""

import html
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from hub.base.name_lists import counted
from hub.base.printable import printable
from hub.cli import show
from hub.cli.errors import CommandError, Exit, using
from hub.cli.hub_client import open_client
from hub.cli.options import (
    NAME,
    USER,
    FilePathParam,
    config_option,
    example,
    json_option,
    state_option,
    text_in,
    user_option,
)

if TYPE_CHECKING:
    from hub.lab.calibration import Calibration, MeasuredSize
    from hub.lab.comparison import EvaluationComparison
    from hub.lab.evaluation import (
        DocumentResult,
        EvaluationFile,
        Means,
        ShownItem,
        StoredEvaluation,
        WrongField,
    )
    from hub.lab.gold import GoldDocument, Tally
    from hub.runs.run_order import AgentConfig
    from hub.settings.agent_settings import AgentSettings
    from hub.settings.reading import Shared
    from hub.settings.settings import Settings

_KEY: Final = "model.chunk_tokens"
NANOS: Final = 1_000_000_000  # of a US dollar
_FORMS: Final = {"USD": ".4f", "seconds": ".1f"}
_HEADERS: Final = ("table", "labels", "found", "correct", "P", "R", "F1", "fields")
_DIGITS: Final = 8  # of a digest, for people

Figures = dict[str, float | None]  # by name


@click.command(epilog=example("hub eval notes --gold gold.jsonl --misses"))
@click.argument("name", type=NAME, metavar="AGENT")
@click.option(
    "--gold",
    type=FilePathParam(exists=True),
    metavar="FILE",
    help="Documents with the records to find in them, one JSON object a line; or a folder of files, with"
    " an expected.json beside them (a folder inside needs its own).",
)
@config_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N documents.")
@click.option(
    "--misses",
    is_flag=True,
    help="Show each missed and each false item, and each wrong field, with its sentence.",
)
@click.option(
    "--against-prompt",
    type=FilePathParam(exists=True, dir_okay=False),
    metavar="FILE",
    help="Evaluate with the prompt in this file, too, and compare both.",
)
@click.option(
    "--against-model",
    metavar="NAME",
    help="Evaluate with this model of the settings, or of the first endpoint, too, and compare both.",
)
@click.option(
    "--least-f1",
    type=click.FloatRange(0, 1),
    metavar="F1",
    help="Exit with 1 when F1 of all tables is less.",
)
@click.option(
    "--html",
    "page",
    type=FilePathParam(dir_okay=False),
    metavar="FILE",
    help="Write the report into this file as a page, with missed and false items.",
)
@click.option("--model", metavar="NAME", help="Evaluate with this model, as for --against-model, alone.")
@click.option(
    "--calibrate",
    is_flag=True,
    help="Find the size of chunks for the model; without --gold, in built-in documents.",
)
@click.option("--write", is_flag=True, help="With --calibrate: write the size into the settings file.")
@click.option("--history", is_flag=True, help="Show the last evaluations of the agent; evaluate nothing.")
@user_option
@state_option
@json_option
@click.pass_context
def eval(
    ctx: click.Context,
    name: str,
    gold: Path | None,
    config: Path,
    limit: int | None,
    misses: bool,
    against_prompt: Path | None,
    against_model: str | None,
    least_f1: float | None,
    page: Path | None,
    model: str | None,
    calibrate: bool,
    write: bool,
    history: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Measure how well an agent finds what a person found.

    Uses the agent's own settings and model. Needs no running hub and no device; stores and
    delivers no records. Sends new requests to the model, within the budget of a run. Next to
    each figure is its change since the last evaluation of the same documents.

    With another prompt or model, the documents are read twice, each time within the budget of a run.
    A calibration reads them several times, within the budget of one run, and states its costs before.
    """
    from hub.base.atomic_file import write_atomically
    from hub.lab.comparison import compare
    from hub.lab.evaluation import EvaluationFile

    shared = _shared(config, state)
    settings = _settings(config, shared)
    if model is not None:
        settings = _with_model(settings, model)
    agent = _agent(settings, name, ctx.meta.get(USER))
    file = EvaluationFile(state, user=agent.user, agent=agent.name)
    earlier = _earlier(file)
    if history:
        stored = earlier or []
        if as_json:
            listed = [evaluation_json(evaluation) for evaluation in stored]
            show.print_json("eval.history", {"agent": name, "evaluations": listed})
        else:
            headers = (show.in_zone("at"), "gold", "prompt", "model", "chunk", "documents", "P", "R", "F1")
            show.print_table(
                (*headers, "requests", "tokens", "USD"),
                [list(_history_row(evaluation)) for evaluation in stored],
            )
        return
    if write and not calibrate:
        raise CommandError("--write is for --calibrate", Exit.USAGE)
    if calibrate:
        from hub.lab.planted import planted_documents

        labelled = planted_documents() if gold is None else _documents(gold, settings)[0]
        run_calibration(
            _means_of(settings.model_copy(update={"fallback_models": ()})),
            _declared(settings, agent),
            labelled[:limit],
            config,
            is_written=write,
            is_first=model is None,
            shared=shared,
            as_json=as_json,
        )
        return
    if gold is None:
        raise CommandError("no documents to evaluate", Exit.USAGE, next_step="name their file: --gold FILE")
    if against_prompt is not None and against_model is not None:
        raise CommandError("give either --against-prompt or --against-model", Exit.USAGE)
    documents, digest = _documents(gold, settings)
    other_settings = settings if against_model is None else _with_model(settings, against_model)
    other_prompt = None if against_prompt is None else text_in(against_prompt)
    side = _evaluated(settings, agent, documents[:limit], digest)
    report = EvalReport(name, str(gold), side._replace(name=agent.name), has_misses=misses)
    now = side.stored
    if against_prompt is None and against_model is None:
        before = next((evaluation for evaluation in reversed(earlier or ()) if evaluation.is_like(now)), None)
        report = report._replace(before=before)
    else:
        other = _evaluated(other_settings, agent, documents[:limit], digest, prompt=other_prompt)
        other = other._replace(name=against_model or str(against_prompt))
        report = report._replace(other=other, comparison=compare(side.documents, other.documents))
    if as_json:
        show.print_json("eval", report_json(report))
    else:
        print_report(report)
    _report_remarks(now)
    if earlier is not None and not now.evaluation.unread:
        _store(file, [*earlier, now])
    if page is not None:
        with using(page, "write", Exit.CANNOT_CREATE):
            write_atomically(page, report_page(report).encode(), mode=0o600)  # it quotes the documents
    f1 = in_all(now).f1
    is_missed = least_f1 is not None and (now.evaluation.unread or f1 is None or f1 < least_f1)
    if is_missed:
        shown = compared(f1, None)
        show.report(f"not met: F1 is {shown}; at least {least_f1:g} on all documents is required")
    ctx.exit(Exit.FAILED if is_missed else Exit.DONE)


def _shared(config: Path, state: Path) -> "Shared | None":
    """Return the settings that the nodes of the running hub share; None: there are none, or no hub runs.

    Another file than that of the running hub is taken as it is.
    """
    from hub.settings.reading import Shared

    try:
        with open_client(state) as hub:
            used = hub.get("/v1/config")
            number = used["revision"]
            if number is None or Path(used["file"]) != config.resolve():
                return None
            return Shared(number, hub.get(f"/v1/config/revisions/{number}")["text"])
    except CommandError as failure:
        if failure.exit_code != Exit.NOT_RUNNING:
            show.report(f"settings that nodes share are not known, so {config} is used alone: {failure}")
        return None


def _settings(config: Path, shared: "Shared | None") -> "Settings":
    from hub.base.toml.problems import SettingsInvalid
    from hub.settings.reading import check_settings

    try:
        return check_settings(config, shared=shared).usable()
    except SettingsInvalid as error:
        for problem in error.problems:
            show.report(str(problem))
        raise click.exceptions.Exit(Exit.SETTINGS) from error


def _agent(settings: "Settings", name: str, user: str | None) -> "AgentSettings":
    found = [agent for agent in settings.agents if agent.name == name and user in (None, agent.user)]
    if len(found) == 1:
        return found[0]
    if found:
        users = ", ".join(agent.user for agent in found)
        raise CommandError(
            f"several users have an agent {name}: {users}", Exit.USAGE, next_step="choose one: --user NAME"
        )
    names = ", ".join(agent.name for agent in settings.agents) or "none"
    raise CommandError(f"there is no agent {name} in the settings; agents: {names}", Exit.USAGE)


def _documents(gold: Path, settings: "Settings") -> tuple[list["GoldDocument"], str]:
    """Return the documents of a gold file or folder, and its digest. Print its problems, if any, and exit."""
    from hub.lab.gold import BadGold, gold_digest, read_folder, read_gold
    from hub.settings.table_settings import tables_of

    tables = tables_of(settings.tables)
    try:
        if gold.is_dir():
            with using(gold, "read", Exit.SETTINGS):
                documents = read_folder(gold, tables)
            return documents, gold_digest("\0".join(str(document) for document in documents).encode())
        data = gold.read_bytes()
        return read_gold(data.decode(), tables), gold_digest(data)
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        show.report(f"{gold}:{len(lines)}: not UTF-8")
    except BadGold as error:
        for line, problem in error.problems:
            show.report(f"{gold}:{line}: {problem}" if line else f"{gold}: {problem}")
    raise click.exceptions.Exit(Exit.SETTINGS)


def _with_model(settings: "Settings", name: str) -> "Settings":
    """Return *settings* with one model alone: that of this name, else this name at the first endpoint."""
    from hub.app.model_chain import in_order
    from hub.settings.settings import OpenAIModelSettings

    models = in_order(settings)
    known = next(
        (model for model in models if isinstance(model, OpenAIModelSettings) and model.name == name), None
    )
    first = models[0] if models else None
    if known is None and isinstance(first, OpenAIModelSettings):
        known = first.model_copy(update={"name": name})
    if known is None:
        raise CommandError(
            f"the settings have no endpoint for the model {name}",
            Exit.SETTINGS,
            next_step="add it to the settings: [[fallback_models]]",
        )
    return settings.model_copy(update={"model": known, "fallback_models": ()})


def _evaluated(
    settings: "Settings",
    agent: "AgentSettings",
    documents: list["GoldDocument"],
    digest: str,
    *,
    prompt: str | None = None,
) -> "Side":
    import anyio

    from hub.lab.evaluation import StoredEvaluation, evaluate

    def on_read(count: int) -> None:
        if count % 10 == 0:
            show.report(f"{count} of {counted(len(documents), 'document')}")

    declared, means = _declared(settings, agent, prompt=prompt), _means_of(settings)

    async def evaluated() -> Side:
        evaluation, results = await evaluate(documents, declared, means, on_read=on_read)
        stored = StoredEvaluation(at=show.clock.now().isoformat(), gold=digest, evaluation=evaluation)
        return Side(stored, results)

    return anyio.run(evaluated)


def _declared(settings: "Settings", agent: "AgentSettings", *, prompt: str | None = None) -> "AgentConfig":
    """Return the agent with its prompt, or with another one, as its runs use it."""
    import msgspec

    from hub.agents.prompts import rendered, variables_of
    from hub.settings.declared import declared_agent, declared_templates
    from hub.settings.settings_checks import setup_in

    declared = declared_agent(
        agent, run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns
    )
    setup = setup_in(
        declared,
        {declared_template.name: declared_template for declared_template in declared_templates(settings)},
    )
    if declared.template is not None and setup.template is None:
        raise CommandError(
            f"the template {declared.template} is not in the settings, so its prompt is unknown",
            Exit.SETTINGS,
            next_step="add it to the settings: [[templates]]",
        )
    template = setup.prompt_in_use if prompt is None else prompt
    return msgspec.structs.replace(declared, prompt=rendered(template, variables_of(setup)))


def _means_of(settings: "Settings") -> "Means":
    """Return the dependencies of an evaluation with *settings*."""
    from hub.base.clock import SystemChance, SystemClock
    from hub.base.metrics import Metrics
    from hub.base.version import VERSION
    from hub.lab.evaluation import Means

    return Means(settings, SystemClock(), SystemChance(), Metrics(VERSION))


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


def _report_remarks(now: "StoredEvaluation") -> None:
    evaluation = now.evaluation
    if evaluation.model is None:
        show.report("no model is set, so only rules were used: add [model] to hub.toml")
    if evaluation.left_out:
        show.report(
            f"{evaluation.left_out} labels left out: their tables are not in data_types of this agent"
        )
    if evaluation.unread:
        show.report(f"{counted(evaluation.unread, 'document')} not read: {evaluation.budget}")
        show.report("the figures cover the other documents only; they are neither compared nor stored")


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

    from hub.app.model_chain import price_of
    from hub.lab.calibration import CannotCalibrate, calibrate, model_to_calibrate, plan

    model = model_to_calibrate(means.settings)
    planned = plan(documents, agent, means.settings, price_of(model))
    cost = f", {planned.cost_nanos / NANOS:.2f} USD" if model.has_price else ""
    show.report(
        f"asks {model.name} about {planned.questions} questions: about {planned.tokens:,} tokens{cost}; never"
        f" more than {planned.most_tokens:,} tokens or the budget of a run"
    )

    def on_measured(result: "MeasuredSize") -> None:
        show.report(f"chunks of {result.chunk_tokens} tokens: {result.found} of {result.labels} labels found")

    async def calibrated() -> "Calibration":
        return await calibrate(documents, agent, means, planned, on_measured=on_measured)

    try:
        found = anyio.run(calibrated)
    except CannotCalibrate as error:
        raise CommandError(str(error), Exit.FAILED) from error
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
                size.chunk_tokens,
                size.labels,
                size.found,
                f"{size.recall:.3f}",
                size.cut_off,
                size.requests,
                size.tokens,
                f"{size.cost_nanos / NANOS:.4f}",
                f"{size.seconds:.1f}",
            )
            for size in found.measured
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
                "chunk_tokens": size.chunk_tokens,
                "labels": size.labels,
                "found": size.found,
                "recall": size.recall,
                "cut_off": size.cut_off,
                "requests": size.requests,
                "tokens": size.tokens,
                "usd": size.cost_nanos / NANOS,
                "seconds": round(size.seconds, 3),
            }
            for size in found.measured
        ],
    }


def _is_confirmed(size: int, config: Path) -> bool:
    question = f"write {_KEY} = {size} into {config}?"
    return sys.stdin.isatty() and show.ask(question, default=True)


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
        raise CommandError(str(error), Exit.SETTINGS) from error
    if reading.places is not None:
        for problem in written_in_vain([_KEY], text, reading.places):
            show.report(str(problem))
    show.report(f"written into {config}: {_KEY} = {size}; a running hub uses it after hub reload")


class Side(NamedTuple):
    """Evaluation with the results of its documents. *name*: for people, if two are compared."""

    stored: "StoredEvaluation"
    documents: "Sequence[DocumentResult]"
    name: str = ""


class EvalReport(NamedTuple):
    """Report of ``hub eval``.

    Attributes:
        before: last evaluation of the same documents.
        other: evaluation of another prompt or model, with its *comparison*.
        has_misses: show missed and false items, and wrong fields.
    """

    agent: str
    gold: str
    side: Side
    before: "StoredEvaluation | None" = None
    other: Side | None = None
    comparison: "EvaluationComparison | None" = None
    has_misses: bool = False


def print_report(report: EvalReport) -> None:
    """Print a report on stdout."""
    stored = report.side.stored
    show.print_table(_HEADERS, list(_rows(stored, report.before)))
    show.out()
    if kinds := list(_kinds(stored, report.before)):
        show.print_table(("kind", *_HEADERS[1:]), kinds)
        show.out()
    if report.other is None or report.comparison is None:
        show.print_facts(dict(_facts(stored, report.before)))
    else:
        show.print_table(*_side_by_side(report.side, report.other))
        show.out()
        show.print_facts(dict(_counts(report.side, report.other, report.comparison)))
    if report.has_misses:
        for title, places in _lists(report):
            for document, shown in places:
                show.out()
                show.out(f"{title}: {document}: {shown.headline}")
                show.quote(shown.sentence)


def report_json(report: EvalReport) -> dict[str, Any]:
    """Return a report for ``--json``. Texts of documents are part of it only with the misses."""
    import msgspec

    before = report.before
    fields = {"agent": report.agent, "gold_file": report.gold, **evaluation_json(report.side.stored)}
    fields["before"] = None if before is None else evaluation_json(before)
    if report.has_misses:
        fields |= {"missed": _places_json(_missed(report.side)), "false": _places_json(_false(report.side))}
        fields["wrong"] = [
            {"document": document, **msgspec.to_builtins(wrong)} for document, wrong in _wrong(report.side)
        ]
    if report.other is not None and report.comparison is not None:
        found = report.comparison
        fields["against"] = {
            "name": report.other.name,
            **evaluation_json(report.other.stored),
            "compared_documents": found.documents,
            "both": found.both,
            "neither": found.neither,
            "only_agent": _places_json(found.only_first, has_text=report.has_misses),
            "only_against": _places_json(found.only_second, has_text=report.has_misses),
            "false_agent": found.false_first,
            "false_against": found.false_second,
            "sign_test": found.chance,
        }
    return fields


def evaluation_json(stored: "StoredEvaluation") -> dict[str, Any]:
    """Return the figures of an evaluation for ``--json``."""
    evaluation = stored.evaluation
    return {
        "at": stored.at,
        "gold": stored.gold,
        "model": evaluation.model,
        "prompt": evaluation.prompt or None,
        "chunk_tokens": evaluation.chunk_tokens or None,
        "documents": evaluation.documents,
        "unread": evaluation.unread,
        "budget": evaluation.budget or None,
        "left_out": evaluation.left_out,
        "failed": evaluation.failed,
        "given_up": evaluation.given_up,
        "unparsable": evaluation.unparsable,
        "requests": evaluation.spent.requests,
        "prompt_tokens": evaluation.spent.prompt_tokens,
        "completion_tokens": evaluation.spent.completion_tokens,
        "usd": evaluation.spent.cost_nanos / NANOS,
        "seconds": round(evaluation.seconds, 3),
        "tables": {str(table): _figures(tally) for table, tally in evaluation.tallies.items()},
        "all": _figures(in_all(stored)),
        "kinds": {kind: _figures(tally) for kind, tally in evaluation.kinds.items()},
    }


def in_all(stored: "StoredEvaluation") -> "Tally":
    """Return the sum over all tables."""
    from hub.lab import gold

    return gold.in_all(stored.evaluation.tallies)


def compared(now: float | None, was: float | None, form: str = ".3f") -> str:
    """Format a figure and its change since the last evaluation: ``0.812 +0.031``, or ``0.812 =``."""
    if now is None:
        return show.NOTHING
    form = "d" if isinstance(now, int) else form
    if was is None:
        return f"{now:{form}}"
    return f"{now:{form}} =" if now == was else f"{now:{form}} {now - was:+{form}}"


def _rows(now: "StoredEvaluation", before: "StoredEvaluation | None") -> Iterator[tuple[object, ...]]:
    yield from _with_changes(_by_table(now), {} if before is None else _by_table(before))


def _kinds(now: "StoredEvaluation", before: "StoredEvaluation | None") -> Iterator[tuple[object, ...]]:
    """Yield the figures of each kind of document, if there are several."""
    kinds, earlier = (
        {kind: _figures(tally) for kind, tally in stored.evaluation.kinds.items()} if stored else {}
        for stored in (now, before)
    )
    if len(kinds) > 1:
        yield from _with_changes(kinds, earlier)


def _with_changes(now: Mapping[str, Figures], before: Mapping[str, Figures]) -> Iterator[tuple[object, ...]]:
    for name, figures in now.items():
        was = before.get(name, {})
        yield name, *(compared(value, was.get(key)) for key, value in figures.items())


def _facts(now: "StoredEvaluation", before: "StoredEvaluation | None") -> Iterator[tuple[str, object]]:
    yield "model", now.evaluation.model or "none: only rules"
    yield "documents", now.evaluation.documents
    earlier = {} if before is None else _spent(before)
    for name, value in _spent(now).items():
        yield name, compared(value, earlier.get(name), _FORMS.get(name, ".3f"))
    if before is not None:
        yield "compared with", show.moment(before.at)


def _side_by_side(first: Side, other: Side) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return headers and rows of a table with a column for each of two evaluations."""
    columns = [_column(side.stored) for side in (first, other)]
    rows: list[tuple[object, ...]] = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return ("", first.name, other.name), rows


def _column(stored: "StoredEvaluation") -> dict[str, str]:
    found = in_all(stored)
    figures = {"precision": found.precision, "recall": found.recall, "F1": found.f1}
    return {
        "model": stored.evaluation.model or "none: only rules",
        "documents": str(stored.evaluation.documents),
        **{name: compared(value, None) for name, value in figures.items()},
        **{name: compared(value, None, _FORMS.get(name, ".3f")) for name, value in _spent(stored).items()},
    }


def _counts(first: Side, other: Side, found: "EvaluationComparison") -> Iterator[tuple[str, object]]:
    yield "labels found by both", found.both
    yield f"only by {first.name}", len(found.only_first)
    yield f"only by {other.name}", len(found.only_second)
    yield "by neither", found.neither
    yield f"false items of {first.name}", found.false_first
    yield f"false items of {other.name}", found.false_second
    verdict = "may be chance" if found.is_chance else "is hardly chance"
    yield "sign test", f"p = {found.chance:.3f}: the difference of labels {verdict}"


def _lists(report: EvalReport) -> "Iterator[tuple[str, Iterable[tuple[str, ShownItem]]]]":
    """Yield the lists of labels and items that are shown with their sentences, each with its title."""
    if report.other is None or report.comparison is None:
        yield "missed", _missed(report.side)
        yield "false", _false(report.side)
        yield "wrong", _wrong(report.side)
        return
    names = (report.side.name, report.other.name)
    yield f"only by {names[0]}", report.comparison.only_first
    yield f"only by {names[1]}", report.comparison.only_second
    for side in (report.side, report.other):
        yield f"false, {side.name}", _false(side)
        yield f"wrong, {side.name}", _wrong(side)


def _missed(side: Side) -> "Iterator[tuple[str, ShownItem]]":
    return (
        (document.id, document.labels[number]) for document in side.documents for number in document.missed
    )


def _false(side: Side) -> "Iterator[tuple[str, ShownItem]]":
    return ((document.id, shown) for document in side.documents for shown in document.false)


def _wrong(side: Side) -> "Iterator[tuple[str, WrongField]]":
    return ((document.id, wrong) for document in side.documents for wrong in document.wrong)


def _places_json(places: "Iterable[tuple[str, ShownItem]]", *, has_text: bool = True) -> list[dict[str, str]]:
    return [
        {"document": document, "table": str(shown.table)}
        | ({"name": shown.name, "sentence": shown.sentence} if has_text else {})
        for document, shown in places
    ]


def _by_table(stored: "StoredEvaluation") -> dict[str, Figures]:
    tallies = {str(table): tally for table, tally in stored.evaluation.tallies.items()}
    return {name: _figures(tally) for name, tally in {**tallies, "all": in_all(stored)}.items()}


def _figures(tally: "Tally") -> Figures:
    return {
        "labels": tally.labelled,
        "found": tally.found,
        "right": tally.right,
        "precision": tally.precision,
        "recall": tally.recall,
        "f1": tally.f1,
        "fields": tally.field_share,
    }


def _spent(stored: "StoredEvaluation") -> dict[str, float]:
    evaluation = stored.evaluation
    return {
        "documents failed": evaluation.failed,
        "pieces given up": evaluation.given_up,
        "answers unparsable": evaluation.unparsable,
        "requests": evaluation.spent.requests,
        "tokens in": evaluation.spent.prompt_tokens,
        "tokens out": evaluation.spent.completion_tokens,
        "USD": evaluation.spent.cost_nanos / NANOS,
        "seconds": evaluation.seconds,
    }


def _history_row(stored: "StoredEvaluation") -> Iterator[object]:
    evaluation, found = stored.evaluation, in_all(stored)
    yield from (
        show.column_moment(stored.at),
        stored.gold[:_DIGITS],
        evaluation.prompt[:_DIGITS],
        evaluation.model,
    )
    yield from (evaluation.chunk_tokens or None, evaluation.documents)
    yield from (compared(value, None) for value in (found.precision, found.recall, found.f1))
    yield from (
        evaluation.spent.requests,
        evaluation.spent.prompt_tokens + evaluation.spent.completion_tokens,
    )
    yield f"{evaluation.spent.cost_nanos / NANOS:.4f}"


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ text-align: left; padding: .25rem 1rem .25rem 0; vertical-align: top; }}
td, blockquote {{ overflow-wrap: anywhere; }}
blockquote {{ margin: .25rem 0 1rem; padding-left: 1rem; border-left: 3px solid; white-space: pre-wrap; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def report_page(report: EvalReport) -> str:
    """Return a report as a page: it needs no other file, runs no script, and shows texts as text."""
    stored = report.side.stored
    parts = [_table(_HEADERS, _rows(stored, report.before))]
    if kinds := list(_kinds(stored, report.before)):
        parts.append(_table(("kind", *_HEADERS[1:]), kinds))
    if report.other is None or report.comparison is None:
        parts.append(_table(("", ""), _facts(stored, report.before)))
    else:
        parts.append(_table(*_side_by_side(report.side, report.other)))
        parts.append(_table(("", ""), _counts(report.side, report.other, report.comparison)))
    for title, places in _lists(report):
        listed = list(places)
        parts.append(f"<h2>{_text(title)} ({len(listed)})</h2>")
        parts += (
            f"<p>{_text(document)}: {_text(shown.headline)}</p>"
            f"<blockquote>{_text(shown.sentence)}</blockquote>"
            for document, shown in listed
        )
    title = _text(f"Evaluation of {report.agent}, {show.moment(stored.at)}")
    return _PAGE.format(title=title, body="\n".join(parts))


def _table(headers: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in headers)
    lines = "\n".join(f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{lines}\n</table>"


def _text(value: object) -> str:
    return html.escape(printable(str(value)))
