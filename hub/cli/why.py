"""``hub why``: what became of a file or a line of it, and why of others nothing did."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from hub.cli import show
from hub.cli.options import example, hub_option, json_option
from hub.cli.talk import agent_names, talk
from hub.printable import one_line, spelled

_MOST_PLACES: Final = 12  # of one reason, on one line
_WITH_ITEM: Final = ("item", "marked", "not_delivered", "approved", "edited", "rejected", "duplicate")


@click.command(epilog=example("hub why notes/monday.md:12"))
@click.argument("place", metavar="PATH[:LINE]")
@click.option("--agent", metavar="NAME", shell_complete=agent_names, help="Only of this agent.")
@click.option("--device", metavar="NAME", help="Only of the agents of this device, by name or id.")
@hub_option
@json_option
def why(place: str, agent: str | None, device: str | None, state: Path, as_json: bool) -> None:
    """Show what became of a file or a line of it, and why of others nothing did.

    PATH is a path on the device, from its shared folder or whole; the end of it is enough where
    only one file ends so. The device reads the file again; no model is asked, and nothing changes.
    Each reason says how to change it: hub help why.
    """
    given = {"path": _here(place), "agent": agent, "device": device}
    with talk(state) as hub:
        found = hub.send("GET", "/v1/why", {name: value for name, value in given.items() if value})
    if as_json:
        show.print_json("explanations", found)
        return
    for nth, one in enumerate(found["explanations"]):
        show.out("\n".join([*([""] if nth else []), *_lines(one)]))


def _here(place: str) -> str:
    """Return the place of a file of the current folder with its whole path, as its device may be here."""
    path, colon, line = place.rpartition(":")
    if not (colon and line.isdecimal()):
        path, colon, line = place, "", ""
    is_here = path.startswith((".", "/")) and Path(path).is_file()
    return f"{Path(path).absolute()}{colon}{line}" if is_here else place


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about one agent: the file, the items of its lines, and the others by reason."""
    where = f" on {found['device']}" if found["device"] else ""
    yield one_line(f"{found['path']}, agent {found['agent']}{where}:")
    yield from _reason(found, "  ")
    grouped: dict[tuple[str, str], list[str]] = {}
    for line in found["lines"]:
        if line["code"] in _WITH_ITEM:
            yield one_line(
                f"  {_place(line)}: {spelled(line['title'])}" if line["title"] else f"  {_place(line)}:"
            )
            yield from _reason(line, "      ")
        else:
            grouped.setdefault((line["because"], line["remedy"]), []).append(_place(line))
    for (because, remedy), places in grouped.items():
        more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
        yield f"  {', '.join(places[:_MOST_PLACES])}{more}:"
        yield from _reason({"because": because, "remedy": remedy}, "      ")
    if (rest := sum(found["counts"].values()) - len(found["lines"])) > 0:
        yield f"  {rest} more lines are counted only; name one: PATH:LINE"


def _reason(of: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield one_line(f"{indent}{of['because']}")
    yield one_line(f"{indent}-> {of['remedy']}")


def _place(line: Mapping[str, Any]) -> str:
    first, last = line["first"], line["last"]
    return f"line {first}" if first == last else f"lines {first}-{last}"
