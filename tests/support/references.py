"""The reference pages of the handbook, made from the code: settings, commands, routes, errors, metrics."""

import ast
import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from copy import copy
from textwrap import fill
from typing import Any, Final

import click
from prometheus_client.metrics_core import Metric

from hub.api.application import ANSWERED, RouteHandler
from hub.base.log.meanings import MEANINGS
from hub.base.metrics import Metrics
from hub.base.roles import AGENT, DEVICE_REQUESTS, PUBLIC, ROLE_SCOPES, ROUTES, Need, Role, RouteKey, Scope
from hub.cli.app import hub
from hub.cli.errors import Exit
from hub.settings.editor_schema import settings_schema
from protocol.errors import CATALOGUE
from tests.support import outcome_doors
from tests.support.source import LoggedEvent, modules_of_the_product, tree_of

WIDTH: Final = 116
WHICH_HUB: Final = ("state", "url", "token_file", "user", "timeout")  # options that most commands share
NOTE: Final = "<!-- Generated from the code: make documents -->"
Schema = Mapping[str, Any]

_EXITS: Final = {
    Exit.DONE: "done",
    Exit.FAILED: "the command failed, the run failed, or something was found",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_RUNNING: "no hub is running",
    Exit.UNAVAILABLE: "a hub, a model, an address or a file is not available",
    Exit.CANNOT_CREATE: "a file cannot be created",
    Exit.TRY_AGAIN: "try again later",
    Exit.NOT_PERMITTED: "not permitted",
    Exit.SETTINGS: "the settings are wrong, or the database of the state folder is not there",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}


def settings_page() -> str:
    """Return the reference of hub.toml: each table with its keys."""
    return _page(
        "Settings",
        "Every key of hub.toml, with its default, its bounds and when a change is used.",
        """
        `hub init` writes a commented file, `hub check` finds mistakes in it, `hub schema` prints the JSON
        Schema that editors use. Where a key is not written, the default holds.
        """,
        """
        Each key says when a change of it is used: *live* means at once, *reconnect* by connections made
        afterwards, *restart* after the next start of the hub.
        """,
        """
        An environment variable `HUB__TABLE__KEY` takes precedence over the file, and `hub serve --set
        TABLE.KEY=VALUE` over both. `hub config show --origin` shows where each value was given.
        """,
        *_tables(settings_schema()),
    )


def _tables(schema: Schema) -> Iterator[str]:
    waiting = [(path, key, property) for path, key, property in _properties("", schema)]
    while waiting:
        path, key, property = waiting.pop(0)
        for table in _objects(property, schema["$defs"]):
            name = f"{path}{key}"
            kind = table["properties"].get("kind", {}).get("const")
            heading = f"[[{name}]]" if _is_list(property) else f"[{name}]"
            yield f"## {heading}" + (f" of kind {kind}" if kind else "")
            if about := table.get("description", "").replace("\n", " ").removeprefix(f"{heading}: "):
                yield fill(about[0].upper() + about[1:], WIDTH)
            inner = list(_properties(f"{name}.", table))
            keys = [_key(key, told, table) for _, key, told in inner if _is_value(told, schema["$defs"])]
            if keys:
                yield "\n".join(keys)
            waiting = [*inner, *waiting]


def _properties(path: str, table: Schema) -> Iterator[tuple[str, str, Schema]]:
    for key, told in table.get("properties", {}).items():
        yield path, key, told


def _is_list(property: Schema) -> bool:
    return property.get("type") == "array"


def _is_value(property: Schema, known: Schema) -> bool:
    """Return whether the key is shown in the list of its table: all but those that only hold other tables."""
    return not (list(_objects(property, known)) and set(property) <= {"$ref"})


def _objects(property: Schema, known: Schema) -> Iterator[Schema]:
    """The tables that may be the value of *property*, or be in its list."""
    for one in (property, property.get("items", {})):
        for choice in (one, *one.get("oneOf", ()), *one.get("anyOf", ())):
            if "$ref" in choice:
                found = known[choice["$ref"].rpartition("/")[2]]
                if found.get("properties"):
                    yield found


def _key(key: str, told: Schema, table: Schema) -> str:
    default = "required" if key in table.get("required", ()) else _default(told)
    facts = ", ".join(filter(None, (_kind(told), default, told.get("x-effect"), told.get("x-scope"))))
    return _item(f"`{key}` ({facts}): {told.get('description', '')}".rstrip(": "))


def _default(told: Schema) -> str:
    if "default" not in told or told["default"] in ([], {}, ""):
        return ""
    return f"default `{json.dumps(told['default'], ensure_ascii=False)}`"


def _kind(told: Schema) -> str:
    if "enum" in told:
        return " or ".join(f"`{value}`" for value in told["enum"])
    if "const" in told:
        return f"`{told['const']}`"
    choices = [*told.get("oneOf", ()), *told.get("anyOf", ())]
    if choices:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in choices))
    if "$ref" in told:
        return "table"
    if _is_list(told):
        return f"list of {_kind(told.get('items', {}))}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "table"}
    name = names.get(told.get("type", ""), told.get("type", "value"))
    bounds = [
        f"{sign} {told[word]}"
        for word, sign in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if word in told
    ]
    return " ".join([str(name), *bounds])


def cli_page() -> str:
    """Return the reference of the command line: the help of each command, and the exit codes."""
    codes = "\n".join(f"| {code.value} | {_EXITS[code]} |" for code in Exit)
    return _page(
        "Commands",
        "Every command with its options, and the exit codes.",
        """
        `hub COMMAND --help` prints the same text. Every command that reads has `--json`. "Also" names the
        options that say which hub is asked; they are explained under `hub`. A command that takes longer than
        a second says what it waits for. `--timeout TIME`, as in 30s, 10m or 2h, ends it with exit code 75
        after that time; what it has begun in the hub goes on.
        """,
        f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}",
        *_commands(hub, click.Context(hub, info_name="hub", terminal_width=100, max_content_width=100)),
    )


def _commands(command: click.Command, ctx: click.Context) -> Iterator[str]:
    shared = [param for param in command.params if ctx.parent and param.name in WHICH_HUB]
    brief = copy(command)
    brief.params = [param for param in command.params if param not in shared]
    brief.add_help_option = False
    yield f"## {ctx.command_path}\n\n```text\n{brief.get_help(ctx)}\n```"
    if shared:
        yield f"Also: {', '.join(f'`{param.opts[0]}`' for param in shared)}."
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _commands(inner, click.Context(inner, info_name=name, parent=ctx))


def rest_page() -> str:
    """Return the reference of the operators' interface: each route with its scope."""
    scopes = "\n".join(
        f"| {role} | {', '.join(str(scope) for scope in Scope if scope in ROLE_SCOPES[role])} |"
        for role in Role
    )
    asked = "\n".join(
        f"| `{method}` | {need.of} | {need.grant or ''} |" for method, need in DEVICE_REQUESTS.items()
    )
    return _page(
        "REST interface",
        "Every route with the scope that it needs, and what devices may ask.",
        """
        The interface is at `[listen.operator]` over HTTP, and at `hub.sock` in the state folder. Over HTTP
        a request bears an operator's token: `Authorization: Bearer TOKEN`. The hub serves the whole
        interface as an OpenAPI 3.1 document at `/v1/openapi.json`, with the shape of each request and
        answer.
        """,
        f"## Roles\n\n| role | scopes |\n|---|---|\n{scopes}",
        """## Rules for all routes\n
- A list has pages: `limit`, and `cursor` with the `next_cursor` of the page before.
- The header `Hub-Node: NODE` asks another node of a hub with several. With `Hub-Node: all` a GET returns
  `nodes`, with the `status` and `body` of each.
- `?user=NAME` limits a request to one user. A token that is bound to a user sees that user only.
- A change may bear `If-Match` with the `ETag` that was read; where the thing has changed, the answer is 412.
  Where nothing that is read has an `ETag`, as a document of a vocabulary, `If-Match` is refused.
- Each `POST` takes an `Idempotency-Key`: the same key is done once, and gets the same answer again.
- `Prefer: wait=N` (RFC 7240) at the start of a run, and at `GET /v1/runs/{run_id}`, answers when the run has
  ended, or after N seconds, 60 at most; `Preference-Applied` says so. It replaces an event stream:
  where none is free, the answer comes at once.
- A refusal is `application/problem+json` with a stable `code`: see [errors](errors.md).
- A value has the type that the document says: a number is not a text, and a point in time has seconds and an
  offset from UTC, as in `2026-01-05T09:00:00Z`. A refusal names every wrong parameter and key,
  also those that the route does not have.
- A body has at most 1 MiB. It states its length, or comes in 2,048 chunks at most. An offer of another
  protocol (`Upgrade`) is ignored.
- HEAD is answered as GET is, without a body. A method that a path does not take is 405, with those that it
  takes in `Allow`, before a body is read; one that HTTP does not have is 501.
- An idle connection is kept for 90 seconds, announced as `Keep-Alive: timeout=75`. Where all are taken,
  the one that has been idle longest is closed, with a 503 for a request that is on its way.
- The tokens of a user together, or a token of all users, have half of `operator_requests` at once, which
  is 32; a further request gets 503.
- Each 429 and 503 says in `Retry-After` after how many seconds to ask again.""",
        *_routes(ANSWERED.values()),
        f"## Requests of devices\n\nDevices ask over their own connection, see [PROTOCOL.md]"
        f"(../../protocol/PROTOCOL.md).\n\n| method | about | grant |\n|---|---|---|\n{asked}",
    )


def _routes(routes: Collection[RouteHandler]) -> Iterator[str]:
    by_resource: dict[str, list[str]] = {}
    for route in sorted(routes, key=lambda route: (route.asked.path, route.asked.method)):
        line = _route(route.asked, inspect.getdoc(route.method) or "")
        by_resource.setdefault(route.resource.name, []).append(line)
    for name in sorted(by_resource):
        yield f"## Routes of {name}\n\n" + "\n".join(by_resource[name])


def _route(asked: RouteKey, about: str) -> str:
    need = ROUTES[asked]
    unscoped: dict[Need, str] = {PUBLIC: "no token", AGENT: "an agent's token"}
    who = unscoped.get(need, str(need.value))
    first = about.partition("\n\n")[0]
    return _item(f"`{asked.method} {asked.path}` ({who}): {first}".rstrip(": "))


def errors_page() -> str:
    """Return the catalogue of refusals."""
    codes = (
        _item(
            f"`{code}` (HTTP {info.http_status}, {info.fault}{', retryable' if info.retryable else ''}):"
            f" {info.hint}"
        )
        for code, info in CATALOGUE.items()
    )
    return _page(
        "Errors",
        "Every error code: its HTTP status, who can remove the cause, and what to do.",
        """
        The same codes are used on the wire, over REST (member `code`) and by the command line. A code is
        never renamed; the sentence beside it may change.
        """,
        """## Who can remove the cause\n
| word | meaning |
|---|---|
| local | a bug of this hub |
| remote | the peer that sent the request |
| operator | the person who runs the hub |
| provider | a model endpoint or a mail provider |

*Retryable* means that the same request may succeed later.""",
        outcome_doors.table(),
        "## Codes\n\n" + "\n".join(codes),
    )


def metrics_page() -> str:
    """Return the list of metrics of the process."""
    return _page(
        "Metrics",
        "Every metric at /metrics, with its type and labels.",
        """
        `GET /metrics` on the operators' listener answers in the text format of Prometheus, to a token with
        the scope *read* that sees all users. Alert rules and a dashboard for Grafana are installed with the
        hub: `hub/health/alerts.yaml` and `hub/health/dashboard.json`.
        """,
        """
        Labels have few values and never ids. The work of one agent is measured apart: `hub agents metrics
        NAME`, see [agents](agents.md). How the hub went over the last 90 days is kept without a Prometheus:
        `hub metrics`, see [service](service.md#see-how-it-went-over-time).
        """,
        "\n".join(sorted(_metrics(Metrics()))),
    )


def _metrics(metrics: Metrics) -> Iterator[str]:
    for collector in metrics.registry._collector_to_names:
        for family in collector.collect():
            yield _metric(family, getattr(collector, "_labelnames", getattr(family, "_labelnames", ())))


def _metric(family: Metric, labels: tuple[str, ...]) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    by = f" by {', '.join(labels)}" if labels else ""
    return _item(f"`{family.name}{suffix}` ({family.type}{by}): {family.documentation}")


def log_events_page(events: set[LoggedEvent]) -> str:
    """Return the list of all events of the log."""
    rows = "\n".join(
        f"| `{event.name}` | {event.level} | `{event.module.replace('.', '/')}` | {MEANINGS[event.name]} |"
        for event in sorted(events)
    )
    return _page(
        "Log events",
        "Every event of the log, its level, the module that logs it, and what it means.",
        """
        The log is one JSON object a line on standard error. The field `event` is one of the names below;
        names are stable, so programs may rely on them. The field `meaning` says the same to a person, as
        `hub logs` prints it before the other fields; `hub logs --follow` goes on.
        """,
        f"| event | level | module | meaning |\n|---|---|---|---|\n{rows}",
    )


def modules_page() -> str:
    """Return the list of all modules, below the text of each package that shows the way through it.

    Raises:
        ValueError: a module has no docstring, or its folder is no package.
    """
    packages: dict[str, list[str]] = {}
    for module in modules_of_the_product():
        if module.name.startswith("storage.kernel.migrations"):  # revisions, which decide nothing
            continue
        about = ast.get_docstring(tree_of(module)) or ""
        first, package = about.partition("\n")[0], module.name.rpartition(".")[0]
        if not first:
            raise ValueError(f"{module.name} has no docstring")
        if module.is_package:
            packages[module.name] = [f"## {module.name}\n\n{about}\n"]
        elif package not in packages:
            raise ValueError(f"{module.name} is in no package: its folder has no __init__.py")
        else:
            packages[package].append(fill(f"- `{module.name}`: {first}", 118, subsequent_indent="  "))
    return _page(
        "Modules",
        "Every module and what it is for, by package: begin here to find where something is decided.",
        *("\n".join(lines) for lines in packages.values()),
    )


def _page(title: str, summary: str, *parts: str) -> str:
    blocks = [f"# {title}", summary, NOTE, *map(_block, parts)]
    return "\n\n".join(blocks) + "\n"


def _block(text: str) -> str:
    """A paragraph, folded; what has lines of its own stays as it is."""
    text = text.strip("\n")
    if text.startswith(" "):
        return fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    return text


def _item(text: str) -> str:
    one_line = " ".join(text.replace("``", "`").split())
    return fill(
        f"- {one_line}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
