"""Reports of ``hub eval``: tables for a terminal, JSON, and a page without scripts."""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hub.cli import show
from hub.printable import printable

if TYPE_CHECKING:
    from hub.app.evaluation import Comparison, DocumentResult, Shown, StoredEvaluation, WrongField
    from hub.extraction.gold import Tally

NANOS: Final = 1_000_000_000  # of a US dollar
_FORMS: Final = {"USD": ".4f", "seconds": ".1f"}
_HEADERS: Final = ("table", "labels", "found", "correct", "P", "R", "F1", "fields")
_DIGITS: Final = 8  # of a digest, for people

Figures = dict[str, float | None]  # by name


class Side(NamedTuple):
    """Evaluation with the results of its documents. *name*: for people, if two are compared."""

    stored: "StoredEvaluation"
    documents: "Sequence[DocumentResult]"
    name: str = ""


class Report(NamedTuple):
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
    comparison: "Comparison | None" = None
    has_misses: bool = False


def print_report(report: Report) -> None:
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
            for document, one in places:
                show.out()
                show.out(f"{title}: {document}: {one.headline}")
                show.quote(one.sentence)


def print_history(evaluations: "Sequence[StoredEvaluation]") -> None:
    """Print stored evaluations, the newest last."""
    headers = (show.in_zone("at"), "gold", "prompt", "model", "chunk", "documents", "P", "R", "F1")
    show.print_table(
        (*headers, "requests", "tokens", "USD"), [list(_history_row(one)) for one in evaluations]
    )


def report_json(report: Report) -> dict[str, Any]:
    """Return a report for ``--json``. Texts of documents are part of it only with the misses."""
    before = report.before
    fields = {"agent": report.agent, "gold_file": report.gold, **evaluation_json(report.side.stored)}
    fields["before"] = None if before is None else evaluation_json(before)
    if report.has_misses:
        fields |= {"missed": _places_json(_missed(report.side)), "false": _places_json(_false(report.side))}
        fields["wrong"] = [
            {"document": document, **msgspec.to_builtins(one)} for document, one in _wrong(report.side)
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
    one = stored.evaluation
    return {
        "at": stored.at,
        "gold": stored.gold,
        "model": one.model,
        "prompt": one.prompt or None,
        "chunk_tokens": one.chunk_tokens or None,
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
        "all": _figures(in_all(stored)),
        "kinds": {kind: _figures(tally) for kind, tally in one.kinds.items()},
    }


def in_all(stored: "StoredEvaluation") -> "Tally":
    """Return the sum over all tables."""
    from hub.extraction import gold

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
        {kind: _figures(tally) for kind, tally in one.evaluation.kinds.items()} if one else {}
        for one in (now, before)
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


def _side_by_side(one: Side, other: Side) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return headers and rows of a table with a column for each of two evaluations."""
    columns = [_column(side.stored) for side in (one, other)]
    rows: list[tuple[object, ...]] = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return ("", one.name, other.name), rows


def _column(stored: "StoredEvaluation") -> dict[str, str]:
    found = in_all(stored)
    figures = {"precision": found.precision, "recall": found.recall, "F1": found.f1}
    return {
        "model": stored.evaluation.model or "none: only rules",
        "documents": str(stored.evaluation.documents),
        **{name: compared(value, None) for name, value in figures.items()},
        **{name: compared(value, None, _FORMS.get(name, ".3f")) for name, value in _spent(stored).items()},
    }


def _counts(one: Side, other: Side, found: "Comparison") -> Iterator[tuple[str, object]]:
    yield "labels found by both", found.both
    yield f"only by {one.name}", len(found.only_first)
    yield f"only by {other.name}", len(found.only_second)
    yield "by neither", found.neither
    yield f"false items of {one.name}", found.false_first
    yield f"false items of {other.name}", found.false_second
    verdict = "may be chance" if found.is_chance else "is hardly chance"
    yield "sign test", f"p = {found.chance:.3f}: the difference of labels {verdict}"


def _lists(report: Report) -> "Iterator[tuple[str, Iterable[tuple[str, Shown]]]]":
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


def _missed(side: Side) -> "Iterator[tuple[str, Shown]]":
    return ((one.id, one.labels[number]) for one in side.documents for number in one.missed)


def _false(side: Side) -> "Iterator[tuple[str, Shown]]":
    return ((one.id, shown) for one in side.documents for shown in one.false)


def _wrong(side: Side) -> "Iterator[tuple[str, WrongField]]":
    return ((one.id, wrong) for one in side.documents for wrong in one.wrong)


def _places_json(places: "Iterable[tuple[str, Shown]]", *, has_text: bool = True) -> list[dict[str, str]]:
    return [
        {"document": document, "table": str(one.table)}
        | ({"name": one.name, "sentence": one.sentence} if has_text else {})
        for document, one in places
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


def _history_row(stored: "StoredEvaluation") -> Iterator[object]:
    one, found = stored.evaluation, in_all(stored)
    yield from (show.column_moment(stored.at), stored.gold[:_DIGITS], one.prompt[:_DIGITS], one.model)
    yield from (one.chunk_tokens or None, one.documents)
    yield from (compared(value, None) for value in (found.precision, found.recall, found.f1))
    yield from (one.spent.requests, one.spent.prompt_tokens + one.spent.completion_tokens)
    yield f"{one.spent.cost_nanos / NANOS:.4f}"


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


def report_page(report: Report) -> str:
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
            f"<p>{_text(document)}: {_text(one.headline)}</p><blockquote>{_text(one.sentence)}</blockquote>"
            for document, one in listed
        )
    title = _text(f"Evaluation of {report.agent}, {show.moment(stored.at)}")
    return _PAGE.format(title=title, body="\n".join(parts))


def _table(headers: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in headers)
    lines = "\n".join(f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{lines}\n</table>"


def _text(value: object) -> str:
    return html.escape(printable(str(value)))
