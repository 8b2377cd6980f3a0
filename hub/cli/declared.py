"""Commands declared by the nouns of the REST interface (``hub.api.noun.command``): one request each.

``commands.json`` has the declarations as data, so that no command imports the web framework.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from hub.cli import show
from hub.cli.completion import names_of
from hub.cli.failure import Exit, Failure
from hub.cli.formats import FORMATS, IN_ZONE
from hub.cli.options import Duration, ListByDefault, ListOfOne, example, hub_option, json_option
from hub.cli.talk import Talk, talk
from hub.cli.values import JsonObject, table_in

Spec = Mapping[str, Any]
Values = Mapping[str, Any]
Step = tuple[str, list[str]]  # a word of a command, and the names of its arguments

_COLUMN: Final = re.compile(r"([\w.*]+)(?:\|(\w+))?(?: as (.+))?")
_FIELD: Final = re.compile(r"\{([\w.*]+)(?:\|(\w+))?\}")
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_GIVEN: Final = "hub.given"  # key of ctx.meta: arguments of the groups around a command


@cache
def _declared() -> Spec:
    text = files("hub.cli").joinpath("commands.json").read_text("utf-8")
    declared: Spec = json.loads(text)
    return declared


def declared_group(name: str, help: str) -> click.Group:
    """Return the group *name*, all of whose commands are declared."""
    group = ListByDefault(name, help=help)
    add_declared(group, name)
    group.epilog = next(iter(group.commands.values())).epilog
    return group


def add_declared(group: click.Group, *path: str) -> None:
    """Add the declared commands whose words begin with *path* to *group*, with the groups below it."""
    for spec in _declared()["commands"]:
        steps = _steps(spec["words"])[len(path) :]
        if tuple(spec["words"].split()[: len(path)]) != path:
            continue
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
        if word.strip("[]").isupper():
            steps[-1][1].append(word.lower())
        else:
            steps.append((word, []))
    return steps


def _group_of_one(name: str, argument: str, spec: Spec) -> click.Group:
    @click.pass_context
    def keep(ctx: click.Context, /, **values: str) -> None:
        ctx.meta[_GIVEN] = values

    params = [_argument(argument, spec["params"])]
    help = _declared()["groups"][spec["noun"]]
    return ListOfOne(name, callback=keep, params=params, help=help, epilog=example(spec["example"]))


def _command(spec: Spec, name: str, arguments: Sequence[str]) -> click.Command:
    def run(state: Path, as_json: bool, **values: Any) -> None:
        _run(spec, click.get_current_context().meta.get(_GIVEN, {}) | values, state, as_json=as_json)

    params: list[click.Parameter] = [_argument(one, spec["params"]) for one in arguments]
    if spec["file"]:
        params.append(click.Option(["--file"], type=_FILE, required=True, metavar="FILE", help=spec["file"]))
    for parameter in spec["params"].values():
        params += _options(parameter)
    if spec["confirm"]:
        params.append(click.Option(["--yes"], is_flag=True, help="Do not ask."))
    made = hub_option(json_option(click.Command(name, callback=run, help=spec["help"], params=params)))
    made.epilog = example(spec["example"])
    return made


def _argument(name: str, params: Mapping[str, Spec]) -> click.Argument:
    plain = name.strip("[]")
    spec = params[plain]
    complete = names_of(spec["names"]) if spec["names"] else None
    return click.Argument([plain], type=_type(spec), required=plain == name, shell_complete=complete)


def _options(spec: Spec) -> Iterator[click.Option]:
    """Yield the option of a parameter, and the flag that sends null for it."""
    yes, _, no = spec["flag"].partition("/")
    is_switch = spec["type"] == "boolean"
    if no and not is_switch:
        yield click.Option([no, f"no_{spec['name']}"], is_flag=True, help=f"Remove it: {spec['help']}")
    if not yes:
        return
    yield click.Option(
        [f"{yes}{'/' + no if is_switch and no else ''}", spec["name"]],
        type=None if is_switch else _type(spec),
        is_flag=is_switch,
        multiple=spec["type"] == "array",
        required=spec["is_required"] and not is_switch,
        default=None,
        metavar=None if is_switch or spec["values"] else spec["metavar"],
        help=spec["help"],
    )


def _type(spec: Spec) -> click.ParamType[Any]:
    if spec["values"]:
        return click.Choice(spec["values"])
    match spec["type"]:
        case "duration":
            return Duration()
        case "integer":
            return click.IntRange(spec["min"], spec["max"])
        case "number":
            return click.FLOAT
        case "object":
            return JsonObject()
        case _:
            return click.STRING


def _run(spec: Spec, values: dict[str, Any], state: Path, *, as_json: bool) -> None:
    if spec["confirm"] and not values.pop("yes"):
        show.confirm(_text(spec["confirm"], values))
    with talk(state) as hub:
        response = _response(hub, spec, values)
    if as_json:
        show.print_json(spec["json"], response)
        return
    if spec["facts"]:
        show.print_facts(dict(_cells(spec["facts"], response)))
    if spec["table"]:
        _print_table(spec, values, response)
    for line in _text(spec["says"], values | response).splitlines():
        show.say(line)


def _response(hub: Talk, spec: Spec, values: Values) -> dict[str, Any]:
    path, query = spec["path"], dict[str, Any]()
    body = table_in(values["file"]) if spec["file"] else {}
    for name, parameter in spec["params"].items():
        value = values.get(name)
        yes, _, no = parameter["flag"].partition("/")
        if no and parameter["type"] != "boolean" and values[f"no_{name}"]:
            if value is not None:
                raise Failure(f"{yes or name.upper()} and {no} exclude each other", Exit.USAGE)
            body[name] = None
        elif parameter["is_required"] and value is None:
            raise Failure(f"name {name.upper()}, or use {no}", Exit.USAGE)
        elif parameter["in"] == "path":
            path = path.replace("{" + name + "}", quote(str(value), safe=""))
        elif value not in (None, ()):
            (query if parameter["in"] == "query" else body)[name] = value
    query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    if spec["verb"] == "PATCH" and not body:
        raise Failure(
            "nothing to change",
            Exit.USAGE,
            next_step=f"give an option for each change: hub {spec['words']} --help",
        )
    found: dict[str, Any]
    if spec["pages"]:
        found = hub.get_all(path, spec["pages"], **query)
    else:
        found = hub.send(spec["verb"], path, query, body if spec["has_body"] else None)
    return found


def _print_table(spec: Spec, values: Values, response: Spec) -> None:
    rows = response[spec["rows"]]
    if not rows:
        show.say(_text(spec["empty"], {**values, **response}))
        return
    if spec["facts"]:
        show.out()
    headers = [header for header, _ in _cells(spec["table"], rows[0])]
    show.print_table(headers, ([cell for _, cell in _cells(spec["table"], row)] for row in rows))


def _cells(columns: Sequence[str], row: Spec) -> Iterator[tuple[str, object]]:
    """Yield header and value of each column, which is spelled ``field|format as header``."""
    for column in columns:
        found = _COLUMN.fullmatch(column)
        assert found is not None, column
        field, format, header = found.groups()
        name = header or field.replace("_", " ")
        yield show.in_zone(name) if format == IN_ZONE else name, _value(row, field, format)


def _value(row: Spec, field: str, format: str | None) -> object:
    value: Any = row
    for name in field.split(".") if field != "*" else ():
        value = value[name]
    return FORMATS[format](value) if format else value


def _text(template: str, fields: Spec) -> str:
    """Replace ``{field|format}`` in a text."""
    return _FIELD.sub(lambda found: str(_value(fields, found[1], found[2])), template)
