"""Commands built from declarations of resources: arguments, request, table and JSON output.

``commands.json`` has the declarations as data, so that no command imports the web framework.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.base.printable import one_line
from hub.cli import show
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import FORMATS, IN_ZONE
from hub.cli.hub_client import FIELD_PREFIX, HubClient, named_path, names_of, open_client
from hub.cli.options import (
    MAX_OF_TEXT,
    NAME,
    TEXT,
    DurationParam,
    FilePathParam,
    JsonObjectParam,
    ListByDefault,
    ListOfOne,
    TextParam,
    TimeParam,
    example,
    hub_option,
    json_option,
    table_in,
)

Values = Mapping[str, Any]
Step = tuple[str, list[str]]  # a word of a command, and the names of its arguments

_FIELD: Final = re.compile(r"\{([\w.*]+(?:\|\w+)?)\}")
FILE: Final = FilePathParam(exists=True, dir_okay=False)
MIN_END: Final = 6  # characters at the end of an id that identify it
GIVEN: Final = "hub.given"  # key of ctx.meta: arguments of the groups around a command


class CommandSpec(dict[str, Any]):
    """A declared command or a part of it. Keys without a value are left out."""

    def __missing__(self, key: str) -> None:
        return None


@cache
def _declared() -> CommandSpec:
    text = Path(__file__).with_name("commands.json").read_text("utf-8")
    declared: CommandSpec = json.loads(text, object_hook=CommandSpec)
    return declared


def declared_command(name: str, help: str) -> click.Command:
    """Return the declared command *name*, or the group *name*, all of whose commands are declared."""
    for spec in _declared()["commands"]:
        words, *arguments = spec["words"].split()
        if words == name and all(map(str.isupper, arguments)):
            return _command(spec, name, arguments)
    group = ListByDefault(name, help=help)
    add_declared(group, name)
    group.epilog = next(iter(group.commands.values())).epilog
    return group


def add_declared(group: click.Group, *path: str) -> None:
    """Add the declared commands whose words begin with *path* to *group*, with the groups below it."""
    for spec in _declared()["commands"]:
        if tuple(spec["words"].split()[: len(path)]) != path:
            continue
        steps = _steps(spec["words"])[len(path) :]
        inside = group
        for name, arguments in steps[:-1]:
            if name not in inside.commands:
                inside.add_command(_group_of_one(name, arguments[0], spec))
            below = inside.commands[name]
            assert isinstance(below, click.Group)
            inside = below
        name, arguments = steps[-1]
        inside.add_command(_command(spec, name, arguments))


def _steps(words: str) -> list[Step]:
    steps: list[Step] = []
    for word in words.split():
        if word.strip("[.").split("=")[0].rstrip("].").isupper():
            steps[-1][1].append(word)
        else:
            steps.append((word, []))
    return steps


def _group_of_one(name: str, argument: str, spec: CommandSpec) -> click.Group:
    @click.pass_context
    def keep(ctx: click.Context, /, **values: str) -> None:
        ctx.meta[GIVEN] = _named(values)

    params = [_argument(argument, spec["params"])]
    help = _declared()["groups"][spec["noun"]]
    return ListOfOne(name, callback=keep, params=params, help=help, epilog=example(spec["example"]))


def _command(spec: CommandSpec, name: str, arguments: Sequence[str]) -> click.Command:
    params: list[click.Parameter] = [_argument(argument, spec["params"]) for argument in arguments]
    if spec["file"]:
        params.append(click.Option(["--file"], type=FILE, required=True, metavar="FILE", help=spec["file"]))
    for parameter in (spec["params"] or {}).values():
        params += _options(parameter)
    if spec["lines"]:
        flag, about, _ = spec["lines"]
        params.append(click.Option([flag, "lines"], is_flag=True, help=about))
    if spec["confirm"]:
        params.append(click.Option(["--yes"], is_flag=True, help="Do not ask."))
    help = spec["help"]
    if text := next((argument for argument in arguments if argument.endswith("...")), ""):
        help += f"\n\n{text.removesuffix('...')} of - is read from standard input."

    @click.command(name, params=params, help=help, epilog=example(spec["example"]))
    @hub_option
    @json_option
    def run(state: Path, as_json: bool, **values: Any) -> None:
        given = click.get_current_context().meta.get(GIVEN, {})
        _run(spec, given | _named(values), state, as_json=as_json)

    return run


def _named(values: Values) -> dict[str, Any]:
    return {name.removeprefix(FIELD_PREFIX): value for name, value in values.items()}


def _argument(name: str, params: Mapping[str, CommandSpec]) -> click.Argument:
    plain, _, default = name.strip("[].").partition("=")
    plain = plain.lower()
    spec = params[plain]
    return click.Argument(
        [f"{FIELD_PREFIX}{plain}"],
        metavar=name.replace("_ID", ""),
        type=_type(spec),
        nargs=-1 if name.endswith("...") else 1,
        required=not name.startswith("["),
        **({"default": default} if default else {}),
        shell_complete=names_of(spec["names"]) if spec["names"] else None,
    )


def _options(spec: CommandSpec) -> Iterator[click.Option]:
    """Yield the option of a parameter, and the flag that sends null for it."""
    flag, off, name = spec["flag"], spec["off"], f"{FIELD_PREFIX}{spec['name']}"
    is_switch = spec["type"] == "boolean"
    if off and not is_switch:
        word = "Whatever" if spec["in"] == "query" else "Remove"
        help = f"{word} the {spec['name'].replace('_', ' ')}." if flag else spec["help"]
        yield click.Option([off, f"{name}_null"], is_flag=True, help=help)
    if not flag:
        return
    sent = flag.removeprefix("--")
    if sent in (spec["values"] or ()):
        yield click.Option([name, flag], is_flag=True, flag_value=sent, default=None, help=spec["help"])
        return
    is_needed = bool(spec["is_required"]) and not is_switch and spec["default"] is None
    yield click.Option(
        [name, f"{flag}/{off}"] if is_switch and off else [name, *flag.split(",")],
        type=None if is_switch else _type(spec),
        is_flag=is_switch or None,  # False would let its value be left out
        multiple=spec["type"] == "array",
        required=is_needed,
        **({} if is_needed else {"default": spec["default"]}),
        metavar=None if is_switch or spec["values"] else spec["metavar"],
        help=spec["help"],
    )


def _type(spec: CommandSpec) -> click.ParamType[Any]:
    if spec["values"]:
        return click.Choice(spec["values"])
    if spec["names"] or spec["type"] == "name":
        return NAME
    match spec["type"]:
        case "duration":
            return DurationParam()
        case "integer":
            return click.IntRange(spec["min"], spec["max"])
        case "time":
            return TimeParam()
        case "number":
            return click.FloatRange(spec["min"], spec["max"])
        case "object":
            return JsonObjectParam()
        case _:
            return TextParam(spec["max"] or MAX_OF_TEXT)


def _run(spec: CommandSpec, values: dict[str, Any], state: Path, *, as_json: bool) -> None:
    if spec["confirm"] and not values.pop("yes"):
        show.confirm(_text(spec["confirm"], values))
    with open_client(state) as hub:
        response = _response(hub, spec, values)
    if as_json:
        show.print_json(spec["json"], response)
    else:
        _show(spec, values, response)
    if spec["fails_if"] and _value(response, spec["fails_if"]):
        raise click.exceptions.Exit(Exit.FAILED)


def item_called(items: Sequence[Values], id: str) -> Values | None:
    """Return the only item whose id is *id* or ends in it. Raises CommandError: several do; it is short."""
    found = [
        item for item in items if item["id"] == id or (len(id) >= MIN_END and str(item["id"]).endswith(id))
    ]
    if not found and len(id) < MIN_END and any(str(item["id"]).endswith(id) for item in items):
        step = f"type {MIN_END} characters of the end of an id"
        raise CommandError(f"{id!r} is too short", Exit.USAGE, next_step=step)
    if len(found) > 1:
        raise CommandError(
            f"several ids end in {id!r}",
            Exit.USAGE,
            next_step="type more characters of the id; --json prints it whole",
        )
    return found[0] if found else None


def present(response: Values, **shown: Any) -> None:
    """Print a response as a declared command does; *shown*: fields of ``DeclaredCommand`` of ``hub.api``."""
    _show(CommandSpec(shown), {}, response)


def _show(spec: CommandSpec, values: Values, response: Values) -> None:
    fields = {**values, **response}
    if spec["facts"]:
        facts = ((name, _value(response, column)) for name, column in map(_column, spec["facts"]))
        show.print_facts({name.rstrip("?"): fact for name, fact in facts if fact or name[-1] != "?"})
    for field, _, mark in (quoted.partition("|") for quoted in spec["quotes"] or ()):
        if response[field]:
            show.quote(response[field], mark=mark)
    text = str(_value(response, spec["prints"])) if spec["prints"] else ""
    if text:
        show.out(text)
    rows = response[spec["rows"]] if spec["table"] else []
    if rows and values.get("lines"):
        show.out("\n".join(one_line(_text(spec["lines"][-1], row)) for row in rows))
    elif rows:
        _print_table(spec, rows, fields)
    elif spec["empty"] and not text:
        show.report(_text(spec["empty"], fields))
        return
    for row in [response] if spec["facts"] or not spec["table"] else rows:
        notes = (_value(row, note) for note in spec["notes"] or ())
        show.report(*(str(note) for note in notes if note))
    show.report(*_text(spec["message"] or "", fields).splitlines())


def _response(hub: HubClient, spec: CommandSpec, values: Values) -> dict[str, Any]:
    path, query = spec["path"], dict[str, Any]()
    body = table_in(values["file"]) if spec["file"] else {}
    for name, parameter in (spec["params"] or {}).items():
        value, off = values.get(name, parameter["default"]), parameter["off"]
        if isinstance(value, tuple) and parameter["type"] != "array":
            value = TEXT.convert(_joined(value), None, None)
        if off and parameter["type"] != "boolean" and values[f"{name}_null"]:
            if name in values and value not in (None, parameter["default"]):
                raise CommandError(
                    f"{parameter['flag'] or name.upper()} and {off} exclude each other", Exit.USAGE
                )
            body[name] = None
        elif off and parameter["is_required"] and value is None:
            raise CommandError(f"name {name.upper()}, or use {off}", Exit.USAGE)
        elif parameter["in"] == "path":
            word = "" if value is None else f"/{quote(str(value), safe='')}"
            path = path.replace(f"/{{{name}}}", word)
        elif value not in (None, ()):
            (query if parameter["in"] == "query" else body)[name] = value
    path = named_path(path) if "{" in spec["path"] else path
    if spec["verb"] == "PATCH" and not body:
        raise CommandError(
            "nothing to change",
            Exit.USAGE,
            next_step=f"give an option for each change: hub {spec['words']} --help",
        )
    if spec["pages"]:
        return hub.get_all(path, spec["pages"], **query)
    found: dict[str, Any] = hub.send(spec["verb"], path, query, body if spec["has_body"] else None)
    rows = found[spec["rows"]] if "limit" in query else []
    # The hub cuts long pages, and one of items that it looked through may have none that match.
    while "limit" in query and found["next_cursor"] and len(rows) < query["limit"]:
        rest = {"limit": query["limit"] - len(rows), "cursor": found["next_cursor"]}
        found = hub.send(spec["verb"], path, query | rest)
        found[spec["rows"]] = rows = rows + found[spec["rows"]]
    return found


def _joined(words: Sequence[str]) -> str:
    """Return the words of a text as one; ``-`` is read from standard input."""
    text = " ".join(words)
    return sys.stdin.read() if text == "-" else text


def _print_table(spec: CommandSpec, rows: Sequence[Values], fields: Values) -> None:
    if spec["facts"] or spec["quotes"]:
        show.out()
    if spec["total"]:
        rows = [*rows, fields[spec["total"]]]
    columns = [(*column, [_value(row, column[1]) for row in rows]) for column in map(_column, spec["table"])]
    shown = [column for column in columns if "?" not in column[0] or len(set(map(str, column[2]))) > 1]
    times = [content for _, content, _ in shown if content.partition("|")[2] in IN_ZONE]
    headers = []
    for header, content, _ in shown:
        name, sign, rank = header.replace("?", "").partition("~")
        name = _text(name, fields)
        headers.append((show.in_zone(name) if content in times[:1] else name) + sign + rank)
    below: Any = [_value(row, spec["below"]) for row in rows] if spec["below"] else ()
    show.print_table(headers, zip(*(cells for _, _, cells in shown), strict=True), below)
    if fields.get("next_cursor") and (limit := spec["params"]["limit"]):
        flag, most = limit["flag"].partition(",")[0], limit["max"]
        more = f"{flag} {most} is the largest: choose fewer with the options of --help"
        if len(rows) < most:
            more = f"{flag} {min(2 * len(rows), most)}"
        show.report(f"there are more: {more}")


def _column(spelled: str) -> tuple[str, str]:
    """Return header and content of a column, which is spelled ``content as header``.

    ``?`` at the end of a header leaves out an empty fact, or a column with one value in all rows. ``!`` and
    ``~2`` there are for ``show.print_table``.
    """
    content, _, header = spelled.partition(" as ")
    return header or content.partition("|")[0].replace("_", " "), content


def _value(row: Values, content: str) -> object:
    if "{" in content:
        return _text(content, row)
    field, _, format = content.partition("|")
    value: Any = row
    for name in field.split(".") if field != "*" else ():
        value = None if value is None else value[name]
    return FORMATS[format](value) if format else value


def _text(template: str, fields: Values) -> str:
    """Replace ``{field|format}`` in a text."""
    return _FIELD.sub(lambda found: _spelled(_value(fields, found[1])), template)


def _spelled(value: object) -> str:
    return show.NOTHING if value is None else str(value)
