"""Commands ``hub items``: approve, edit, reject and undo verdicts at the hub."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
import click

from hub.base.name_lists import counted
from hub.base.printable import one_line
from hub.cli import show
from hub.cli.declared import MIN_END, item_called
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import proposals, short
from hub.cli.hub_client import HubClient, Responses, hub_command, path_of
from hub.cli.options import CommandT, ListByDefault, TimeParam, example, moment_option

MAX_VERDICTS = 500  # verdicts in one request
TRIES, PAUSE_S = 20, 0.25  # while a device has not answered to the verdict before
Chosen = dict[str, Any]
_NO_NEXT: Final = "the next one is not made here; write its day where you keep it"
_SETTLING: Final = ("accept", "decline")  # what is proposed
_MAX_FOUND: Final = 200  # with their values, in one response
_STATES: Final = ("open", "approved", "edited", "rejected", "held")
_FILTERS: Final = {
    "agent": "Those of this agent.",
    "device": "Those for this device.",
    "run": "Those whose newest version this run found.",
    "table": "Those of this table.",
    "path": "Those of this file, or of the folder if it ends in a slash.",
    "text": "Those with these words in a value or in the path.",
    "warning": "Those with this warning, with any, or with none.",
}


def _filtered(command: CommandT) -> CommandT:
    """Add the options that filter items."""
    for name, about in reversed(_FILTERS.items()):
        command = click.option(f"--{name}", help=about)(command)
    return command


def _choosing(command: CommandT) -> CommandT:
    """Add the options that choose items, in place of their ids or within a list of them."""
    command = click.option("--marked", is_flag=True, help="Do not ask about items with a mark.")(command)
    command = click.option("--yes", is_flag=True, help="Do not ask about others.")(command)
    command = click.option("--dry-run", is_flag=True, help="List the items, and give no verdict.")(command)
    unsure = "Less sure items, which stay at the hub until you approve them."
    command = click.option("--unsure", is_flag=True, help=unsure)(command)
    older = click.option(
        "--older",
        metavar="DAYS",
        type=click.FloatRange(0, 36_500, min_open=True),
        help="Those found longer ago.",
    )
    return older(_filtered(command))


@click.group(cls=ListByDefault, epilog=example("hub items ls --table tasks"))
def items() -> None:
    """List and show found items; approve, edit and reject them, undo that.

    Accept or decline what others propose.

    The last six or more characters of an item's id are enough; FIRST..LAST are the items from one
    to another, as 'hub items ls' lists them. Filters choose all that wait. Before a verdict on
    several items that were not named, their number is asked about; those with a mark, or that
    change what you approved, are approved by their own ids only. The device of an item takes a
    verdict if its owner has granted review.remote to the hub; 'hub items show' tells its state.
    """


@items.command("find", epilog=example("hub items find offer --person anna --until 2027-03-01"))
@click.argument("words", metavar="[WORD]...", nargs=-1)
@click.option("--person", help="Words of a person: who is to do it, or wrote it.")
@click.option("--project", help="Words of the name of its project.")
@moment_option("--since", "Only those due from then on")
@moment_option("--until", "Only those due until then, a day included")
@_filtered
@click.option("--in-state", "verdict", type=click.Choice(_STATES), help="Only in this state.")
@click.option(
    "--limit", type=click.IntRange(1, _MAX_FOUND), default=20, show_default=True, help="Most items."
)
@hub_command
def find(hub: HubClient, words: Sequence[str], **asked: Any) -> Responses:
    """Find items by their words: what was promised, to whom, until when.

    Open and approved items with all WORDS in their title, text, quote, file, people or project,
    those first that have them in their title. Capitals and accents do not count; a word of three
    letters or more also finds longer ones that begin with it. '"a phrase"' finds words in a row.
    """
    days = {"due_since": asked.pop("since"), "due_until": asked.pop("until")}
    asked |= {"q": " ".join(words) or None} | days
    if not any(asked[name] for name in ("q", "person", "project", *days)):
        raise click.UsageError("give words to look for, or --person, --project, --since or --until")
    found = hub.get("/v1/items", values="true", **asked)
    while not found["items"] and found["next_cursor"]:  # none of those that the hub looked through
        found = hub.get("/v1/items", values="true", cursor=found["next_cursor"], **asked)
    yield "items", found
    for item in found["items"]:
        due = next((item["data"][name] for name in ("dueDate", "date") if item["data"].get(name)), None)
        due = show.moment(due) if due and "T" in due else due
        facts = (due and f"due {due}", item["verdict"], item["path"], item["id"][-MIN_END:])
        show.out(one_line(short(item["title"])))
        show.out("  " + one_line(" · ".join(fact for fact in facts if fact)))
        if item["quote"]:
            show.out("  " + one_line(f"“{short(item['quote'])}”"))
    if not found["items"]:
        show.report("no item has all of these words")
    elif found["next_cursor"]:
        is_most = asked["limit"] == _MAX_FOUND
        show.report(f"there are more: give another word{'' if is_most else ', or a higher --limit'}")


@items.command("approve", epilog=example("hub items approve 4e21a9 title='Call Ana'"))
@click.argument("words", metavar="[ITEM]... [FIELD=VALUE]...", nargs=-1)
@_choosing
@hub_command
def approve(hub: HubClient, words: Sequence[str], **chosen: Any) -> Responses:
    """Approve items, with other values of fields where some are given.

    A VALUE is JSON, or else a text. project=NAME puts items under a project, which is made if it
    is new, and task=TITLE puts comments under a task.
    """
    ids, data = _split(words)
    return _give(hub, ids, "approve", data, **chosen)


@items.command("edit", epilog=example("hub items edit 4e21a9 priority=high"))
@click.argument("words", metavar="[ITEM]... FIELD=VALUE...", nargs=-1, required=True)
@click.option("--open", "stays_open", is_flag=True, help="Do not approve: the items go on waiting.")
@_choosing
@hub_command
def edit(hub: HubClient, words: Sequence[str], stays_open: bool, **chosen: Any) -> Responses:
    """Change values of items, and approve them.

    A VALUE is JSON, or else a text.
    """
    ids, data = _split(words)
    if not data:
        raise click.UsageError("give the values to write, each as FIELD=VALUE")
    return _give(hub, ids, "edit" if stays_open else "approve", data, **chosen)


@items.command("reject", epilog=example("hub items reject --path old/ --dry-run"))
@click.argument("ids", metavar="[ITEM]...", nargs=-1)
@_choosing
@hub_command
def reject(hub: HubClient, ids: Sequence[str], **chosen: Any) -> Responses:
    """Reject items: their devices delete them."""
    return _give(hub, ids, "reject", **chosen)


@items.command("undo", epilog=example("hub items undo --last 3"))
@click.argument("ids", metavar="[ITEM]...", nargs=-1)
@click.option(
    "--last",
    metavar="N",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=1,
    help="The last verdict of this login in a terminal, or the last N.",
)
@_choosing
@hub_command
def undo(hub: HubClient, ids: Sequence[str], **chosen: Any) -> Responses:
    """Take back the newest verdict that was given at the hub on each of these items."""
    return _give(hub, ids, "undo", **chosen)


@click.group(cls=ListByDefault, epilog=example("hub tasks"))
def tasks() -> None:
    """List approved tasks and events; tick them off, change them, undo that.

    The last six or more characters of an id are enough. The device of a task takes a change if its
    owner has granted review.remote=approved to the hub.
    """


@tasks.command("tick", epilog=example("hub tasks tick 4e21a9"))
@click.argument("ids", metavar="TASK...", nargs=-1, required=True)
@hub_command
def tick(hub: HubClient, ids: Sequence[str]) -> Responses:
    """Mark tasks as done."""
    return _change(hub, ids, {"status": "done"})


@tasks.command("edit", epilog=example("hub tasks edit 4e21a9 dueDate=2027-02-03"))
@click.argument("words", metavar="TASK... FIELD=VALUE...", nargs=-1, required=True)
@hub_command
def edit_tasks(hub: HubClient, words: Sequence[str]) -> Responses:
    """Change values of approved tasks and events; status=todo takes a tick back.

    A VALUE is JSON, or else a text.
    """
    return _change(hub, *_split(words))


@tasks.command("undo", epilog=example("hub tasks undo 4e21a9"))
@click.argument("ids", metavar="TASK...", nargs=-1, required=True)
@hub_command
def undo_change(hub: HubClient, ids: Sequence[str]) -> Responses:
    """Take back the newest change of tasks and events, or their approval."""
    return _change(hub, ids, {}, "undo")


def _change(hub: HubClient, ids: Sequence[str], data: dict[str, Any], verdict: str = "edit") -> Responses:
    begin = TimeParam().convert("today", None, None)
    listed = [
        task
        for done in ("false", "true")
        for task in hub.get_all("/v1/tasks", "tasks", begin=begin, done=done)["tasks"]
    ]
    chosen = [dict(task) for id in ids if (task := item_called(listed, id))]
    if not ids or len(chosen) < len(ids) or (verdict == "edit" and not data):
        raise click.UsageError("name tasks that 'hub tasks' lists, and each value to write as FIELD=VALUE")
    given = [_body(task, verdict, data, None) for task in chosen]
    for body, task in zip(given, chosen, strict=True):
        if verdict == "edit" or not task["device_refuses"]:
            body["seen_row"] = task["seen_row"]
    yield from _answered(chosen, _sent(hub, given), verdict)
    for task in chosen:
        if data.get("status") == "done" and task.get("repeats"):
            show.report(one_line(f"{short(task['title'])} repeats ({task['repeats']}): {_NO_NEXT}"))


def _proposed(command: CommandT) -> CommandT:
    """Add the options that choose proposals."""
    by = "Only proposals of this proposer, as 'hub items show' names it."
    command = click.option("--by", metavar="PROPOSER", help=by)(_choosing(command))
    command = click.option("--all", "is_all", is_flag=True, help="All items with a proposal.")(command)
    return click.argument("ids", metavar="[ITEM]...", nargs=-1)(command)


@items.command("accept", epilog=example("hub items accept --all --by phone"))
@_proposed
@hub_command
def accept(hub: HubClient, ids: Sequence[str], **chosen: Any) -> Responses:
    """Give the verdicts that are proposed on items.

    Of several proposals on one item the newest is accepted, or that of --by; the others end with it.
    Those that change values are shown with the words that the item is from, and accepted by the
    ids of their items only: --all, filters and ranges leave them out.
    """
    return _settle(hub, ids, "accept", **chosen)


@items.command("decline", epilog=example("hub items decline 4e21a9"))
@_proposed
@hub_command
def decline(hub: HubClient, ids: Sequence[str], **chosen: Any) -> Responses:
    """Refuse what is proposed on items, which go on waiting."""
    return _settle(hub, ids, "decline", **chosen)


def _settle(
    hub: HubClient, ids: Sequence[str], verb: str, *, by: str | None, is_all: bool, **chosen: Any
) -> Responses:
    if not (ids or is_all or by or any(chosen[name] for name in ("older", "unsure", *_FILTERS))):
        raise click.UsageError("name items by their ids, choose them by a filter, or take --all")
    return _give(hub, ids, verb, by=by, proposed="true", **chosen)


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the ids and the values among the words of a command line."""
    ids = [word for word in words if "=" not in word]
    data: dict[str, Any] = {}
    for name, _, text in (word.partition("=") for word in words if "=" in word):
        if name in ("project", "task"):
            data[f"{name}Id"] = {"title": text}
            continue
        data[name] = text
        with suppress(ValueError):
            data[name] = json.loads(text)
    return ids, data


def _give(
    hub: HubClient,
    ids: Sequence[str],
    verdict: str,
    data: dict[str, Any] | None = None,
    *,
    yes: bool,
    dry_run: bool,
    marked: bool,
    by: str | None = None,
    **filters: Any,
) -> Responses:
    chosen = _chosen(hub, ids, verdict, by=by, **filters)
    if dry_run:
        yield "items", {"items": chosen}
        heads = ("item", "title", "proposed") if verdict in _SETTLING else ("item", "title")
        of_proposals = [[_proposed_on(item, by)] if verdict in _SETTLING else [] for item in chosen]
        rows = [(item["id"][-MIN_END:], short(item["title"])) for item in chosen]
        show.print_table(heads, [(*row, *more) for row, more in zip(rows, of_proposals, strict=True)])
        show.report(f"items to {verdict}: {len(chosen)}")
        return
    is_asked = not ids or any((filters | {"proposed": None}).values()) or any(".." in id for id in ids)
    changing = [item for item in chosen if verdict == "accept" and _proposal(item, by)["data"]]
    for changed in changing:
        quote = (changed["place"] or {}).get("quote") or ""
        show.report(f"{changed['title']}: {_proposed_on(changed, by)}", f"  from the words {quote!r}")
    if (is_asked or changing) and chosen and not yes:
        more = f", {len(changing)} of them with changes" if changing else ""
        show.confirm(f"items to {verdict}: {len(chosen)}{more}. Go on?")
    if verdict in ("approve", "edit", "accept") and not marked:
        by_id = {item["id"]: item for item in chosen}
        chosen = [by_id[id] for id in agreed([*by_id], lambda id: _marks_of(hub, by_id[id], by))]
    results: list[Chosen] = []
    for start in range(0, len(chosen), MAX_VERDICTS):
        part = chosen[start:][:MAX_VERDICTS]
        if verdict == "decline":
            asked = {"proposals": [_proposal(item, by)["id"] for item in part]}
            results += hub.post("/v1/items/proposals/declined", asked)["results"]
        else:
            results += _sent(hub, [_body(item, verdict, data or {}, by) for item in part])
    yield from _answered(chosen, results, verdict, is_short=bool(is_asked))
    if is_asked:
        failed = [result for result in results if result["error"]]
        show.report(f"{verdict}: {len(results) - len(failed)} of {counted(len(results), 'item')}")


def _answered(
    chosen: Sequence[Chosen], results: Sequence[Chosen], verdict: str, *, is_short: bool = False
) -> Responses:
    failed = any(result["error"] for result in results)
    yield "verdicts", {"results": results}, Exit.FAILED if failed else Exit.DONE
    for item, result in zip(chosen, results, strict=True):
        state = result["error"]["message"] if result["error"] else result["state"]
        is_of_approved = state == "open" and item.get("verdict") in ("approved", "edited")
        state = "taken back before it was sent" if is_of_approved else state
        state = _undone_before(item, state) if verdict == "undo" else state
        if result["error"] or not is_short:
            show.report(one_line(f"{verdict} {short(item['title'])}: {state}"))


def _undone_before(item: Chosen, state: str) -> str:
    """Return what became of an undo; of one that repeats an older one, what is left of the item."""
    before = item.get("given") or {}
    is_again = state == "done" == before.get("state") and before["verdict"] == "undo"
    if not is_again:
        return state
    left = f"nothing is left to take back here; it is {item['verdict']}"
    is_decided = item["verdict"] in ("approved", "edited")
    return f"{left}, for its device remembers one step: decide there" if is_decided else left


def agreed(ids: Sequence[str], lines: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the ids; of items with a mark, those that their owner agrees to, asked about each.

    Args:
        lines: returns what is shown of an item with a mark; nothing: it has none.

    Raises:
        Failure: an item has a mark, and there is no terminal to ask at.
    """
    taken = []
    for id in ids:
        if shown := lines(id):
            show.report("", *shown)
            if not sys.stdin.isatty():
                step = "read its words, then add --marked"
                raise CommandError("not done: this item has a mark", Exit.USAGE, next_step=step)
            if not show.ask("It has a mark. Go on with this one?"):
                continue
        taken.append(id)
    return taken


def _marks_of(hub: HubClient, item: Chosen, by: str | None) -> list[str]:
    """Return an item with its words and marks; nothing if there is no mark, or it is to be rejected."""
    is_known = "warnings" in item
    if (is_known and not item["warnings"]) or _proposal(item, by).get("verdict") == "reject":
        return []
    with suppress(CommandError):  # an unknown one, which the hub refuses
        item = hub.get(path_of("items", item["id"]))
    from protocol.items import MARKS

    marks = [f"  ! {MARKS.get(mark, mark)}" for mark in item.get("warnings", ())]
    quote = (item.get("place") or {}).get("quote") or ""
    return [f"{item['title']}", f"  {item['path']}: {short(quote)!r}", *marks] if marks else []


def _body(item: Chosen, verdict: str, data: Chosen, by: str | None) -> Chosen:
    """Return a verdict on an item as the hub takes it."""
    if verdict != "accept":
        return {"id": item["id"], "verdict": verdict, "data": data}
    proposal = _proposal(item, by)
    return {
        "id": item["id"],
        "verdict": proposal["verdict"],
        "proposal": proposal["id"],
        "data": proposal["data"],
        "version": item["version"],
    }


def _given_at(item: Chosen) -> datetime:
    return datetime.fromisoformat(item["given"]["created_at"])


def _proposal(item: Chosen, by: str | None) -> Chosen:
    """Return the newest proposal on an item, of a proposer if item is named; empty: there is none."""
    for proposal in item.get("proposals", ()):
        if by in (None, proposal["actor"], proposal["by"], proposal["by"].partition(" ")[2]):
            return dict(proposal)
    return {}


def _proposed_on(item: Chosen, by: str | None) -> str:
    return proposals({"data": None, **item, "proposals": [_proposal(item, by)]})


def _sent(hub: HubClient, verdicts: Sequence[Chosen], tries: int = TRIES) -> list[Chosen]:
    """Give verdicts, again where a device has not answered to the one before."""
    results: list[Chosen] = hub.post("/v1/items/verdicts", {"verdicts": verdicts})["results"]
    late = [
        n
        for n, result in enumerate(results)
        if result["error"] and result["error"]["code"] == "verdict_under_way"
    ]
    if late and tries:
        anyio.run(anyio.sleep, PAUSE_S)
        again = iter(_sent(hub, [verdicts[n] for n in late], tries - 1))
        results = [next(again) if n in late else result for n, result in enumerate(results)]
    return results


def _named(hub: HubClient, id: str) -> Chosen:
    """Return the item with that id, or whose id ends so; of none, the id alone. Raises CommandError."""
    try:
        found: Chosen = hub.get(path_of("items", id))
    except CommandError as error:
        if error.exit_code != Exit.FAILED:
            raise
        return {"id": id, "title": id}  # its verdict is refused, beside those of the others
    return found


def _chosen(
    hub: HubClient,
    ids: Sequence[str],
    verdict: str,
    *,
    older: float | None,
    unsure: bool,
    last: int | None = None,
    by: str | None = None,
    **filters: Any,
) -> list[Chosen]:
    """Return the items of a command: those named, those from one to another, or all of a filter."""
    is_filtered = any((older, last, unsure, *filters.values()))
    if not ids and not is_filtered:
        raise click.UsageError(
            "name items by their ids, as 'hub items' lists them, or choose them by a filter"
        )
    listed = list[Chosen]()
    if is_filtered or any(".." in id for id in ids):
        waiting = "held" if unsure else None if verdict == "undo" else "open"
        each = "true" if verdict == "reject" else None  # approved, the others of one thing are settled
        listed = hub.get_all("/v1/items", "items", verdict=waiting, each=each, **filters)["items"]
    if older is not None:
        end = show.clock.now() - timedelta(days=older)
        listed = [item for item in listed if datetime.fromisoformat(item["created_at"]) < end]
    named: list[Chosen] = []
    several = [] if ids else listed
    for id in ids:
        if ".." not in id:
            named.append(_named(hub, id))
            continue
        ends = [one for end in id.split("..") if (one := item_called(listed, end))]
        if len(ends) == 2:
            from_, until = sorted(listed.index(dict(end)) for end in ends)
            several += listed[from_ : until + 1]
        else:
            raise CommandError(f"{id}: both are to be items that 'hub items ls' lists", Exit.USAGE)
    if verdict == "undo":
        several = [
            item
            for item in several
            if (given := item["given"]) and given["state"] != "refused" and given["verdict"] != "undo"
        ]
    if verdict in _SETTLING:
        if none := [item["id"] for item in named if not _proposal(item, by)]:
            raise CommandError(f"nothing is proposed on {', '.join(none)}", Exit.FAILED)
        several = [item for item in several if _proposal(item, by)]
    if verdict == "accept":
        edits = [item for item in several if _proposal(item, by)["data"]]
        if edits:
            show.report(f"{len(edits)} that change values are left out: accept them by their ids")
        several = [item for item in several if item not in edits]
    if verdict in ("approve", "edit", "accept"):
        for field, why in (("warnings", "with a mark"), ("changes", "that change what you approved")):
            left = [item for item in several if item.get(field)]
            if verdict == "accept":
                left = [item for item in left if _proposal(item, by)["verdict"] != "reject"]
            if left:
                show.report(f"{len(left)} {why} are left out: {verdict} them by their ids")
            several = [item for item in several if item not in left]
    if last is not None:
        me = hub.get("/v1/me")["actor"]
        own = [item for item in several if item["given"]["actor"] == me]
        elsewhere = [item for item in several if item not in own]
        if several and not own:
            newest = max(several, key=_given_at)
            by, what = newest["given"]["by"], f"{newest['given']['verdict']} {short(newest['title'])}"
            problem = f"no verdict was given in this terminal; the newest one is by {by}: {what}"
            step = f"hub items undo {newest['id'][-MIN_END:]}"
            raise CommandError(one_line(problem), Exit.FAILED, next_step=step)
        several = sorted(own, key=_given_at, reverse=True)[:last]
        if newer := sum(_given_at(item) > min(map(_given_at, several)) for item in elsewhere):
            show.report(f"{counted(newer, 'verdict')} given since elsewhere, as on the page: take back by id")
    return list({item["id"]: item for item in named + several}.values())
