"""The group ``hub items``: verdicts on items, given at the hub; ``ls`` and ``show`` are declared."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from hub.cli import show
from hub.cli.declared import SEARCHED, item_called
from hub.cli.failure import Exit
from hub.cli.formats import short
from hub.cli.options import ListByDefault, example
from hub.cli.talk import Responses, Talk, hub_command
from hub.printable import one_line

MOST = 500  # verdicts in one request
_ids = click.argument("ids", metavar="ITEM...", nargs=-1, required=True)


@click.group(cls=ListByDefault, epilog=example("hub items ls --table tasks"))
def items() -> None:
    """List and show found items; approve, edit and reject them, undo that.

    The last six or more characters of an item's id are enough. The device of an item takes a
    verdict if its owner has granted review.remote to the hub; 'hub items show' tells its state.
    """


@items.command("approve", epilog=example("hub items approve 4e21a9 title='Call Ana'"))
@click.argument("words", metavar="ITEM... [FIELD=VALUE]...", nargs=-1, required=True)
@hub_command
def approve(hub: Talk, words: Sequence[str]) -> Responses:
    """Approve items, with other values of fields where some are given.

    A VALUE is JSON, or else a text. project=NAME puts items under a project, which is made if it
    is new, and task=TITLE puts comments under a task.
    """
    ids, data = _split(words)
    return _give(hub, ids, "approve", data)


@items.command("edit", epilog=example("hub items edit 4e21a9 priority=high"))
@click.argument("words", metavar="ITEM... FIELD=VALUE...", nargs=-1, required=True)
@click.option("--open", "stays_open", is_flag=True, help="Do not approve: the items go on waiting.")
@hub_command
def edit(hub: Talk, words: Sequence[str], stays_open: bool) -> Responses:
    """Change values of items, and approve them.

    A VALUE is JSON, or else a text.
    """
    ids, data = _split(words)
    if not data:
        raise click.UsageError("give the values to write, each as FIELD=VALUE")
    return _give(hub, ids, "edit" if stays_open else "approve", data)


@items.command("reject", epilog=example("hub items reject 4e21a9 77b0c2"))
@_ids
@hub_command
def reject(hub: Talk, ids: Sequence[str]) -> Responses:
    """Reject items: their devices delete them."""
    return _give(hub, ids, "reject")


@items.command("undo", epilog=example("hub items undo 4e21a9"))
@_ids
@hub_command
def undo(hub: Talk, ids: Sequence[str]) -> Responses:
    """Take back the newest verdict that was given at the hub on each of these items."""
    return _give(hub, ids, "undo")


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the ids and the values among the words of a command line."""
    ids = [word for word in words if "=" not in word]
    if not ids:
        raise click.UsageError("name the items by their ids: 'hub items' lists them")
    data: dict[str, Any] = {}
    for name, _, text in (word.partition("=") for word in words if "=" in word):
        if name in ("project", "task"):
            data[f"{name}Id"] = {"title": text}
            continue
        data[name] = text
        with suppress(ValueError):
            data[name] = json.loads(text)
    return ids, data


def _give(hub: Talk, ids: Sequence[str], verdict: str, data: dict[str, Any] | None = None) -> Responses:
    listed = hub.get("/v1/items", limit=SEARCHED)["items"]
    named = [found["id"] if (found := item_called(listed, id)) else id for id in ids]
    results: list[dict[str, Any]] = []
    for start in range(0, len(named), MOST):
        part = [{"id": id, "verdict": verdict, "data": data or {}} for id in named[start : start + MOST]]
        results += hub.post("/v1/items/verdicts", {"verdicts": part})["results"]
    has_failed = any(one["error"] for one in results)
    yield "verdicts", {"results": results}, Exit.FAILED if has_failed else Exit.DONE
    titles = {one["id"]: one["title"] for one in listed}
    for one in results:
        state = one["error"]["message"] if one["error"] else one["state"]
        show.report(one_line(f"{verdict} {short(titles.get(one['id'], one['id']))}: {state}"))
