"""The plan of the house as rules over source text: who may import whom, and what stands where.

A rule takes modules and gives findings, one line each, so that it can be tried on a planted violation.
"""

import ast
import graphlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from tests.support.source import Module, facts, imports_of, tree_of

GROUND = {
    "protocol",
    "hub.base",
    "hub.document",
    "hub.text.item_text",
    "hub.base.toml.notify_targets",
    "hub.base.toml.limits",  # groups of settings are handed to their users as they are
}

MAY_IMPORT: dict[str, set[str]] = {
    "protocol": set(),
    "storage": {"protocol"},
    "storage.kernel.migrations.versions": set(),  # a revision must not change when the code does
    "hub": set(),  # the package itself; what is in it has rows of its own
    "hub.document": {"hub.base.mail_subjects", "protocol.items"},
    "hub.clock": {"hub.base.clock"},  # names of release 0.2, for plug-ins
    "hub.outbound": {"hub.base.outbound"},  # likewise
    "hub.docs": {"protocol.errors", "protocol.similar_names"},
    "hub.base": {"protocol"},
    "hub.text": {
        "protocol.frame",
        "protocol.secret_rules",
        "protocol.tables",
        "hub.base.mail_subjects",
        "hub.base.printable",
        "hub.base.version",
    },
    "hub.text.rows": {"protocol", "hub.base", "hub.text"},
    "hub.schedules": {"protocol", "hub.base"},
    "hub.extraction": GROUND | {"hub.text"},
    "hub.links": GROUND | {"storage"},
    "hub.cluster": GROUND,
    "hub.openclaw": GROUND | {"storage"},
    "hub.notify": GROUND | {"storage"},
    "hub.connectors": GROUND | {"hub.text"},
    "hub.accounts": GROUND | {"storage", "hub.links", "hub.connectors"},
    # The patterns of schemas and of filters are looked for as those of redaction are: in linear time.
    "hub.agents": GROUND | {"storage", "hub.links", "hub.text.patterns"},
    "hub.runs": GROUND
    | {"storage", "hub.links", "hub.agents", "hub.extraction", "hub.text", "hub.schedules"}
    | {"hub.connectors", "hub.accounts"},
    "hub.coordination": GROUND | {"storage", "hub.links", "hub.openclaw", "hub.agents"},
    "hub.device": {"protocol", "hub.text", "hub.base"},
}
# Rooms above all others, the lowest first: each may import from all rooms below it.
UPPER: Final = (
    {"hub.settings"},
    {"hub.health"},
    {"hub.api"},
    {"hub.app"},
    {"hub.cli"},
    {"hub.lab"},
    {"hub.__main__"},
)
TOP: Final = {room for rooms in UPPER for room in rooms}
OWN: Final = {"protocol", "storage", "hub"}

STANDS_IN: dict[str, set[str]] = {
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "asyncpg": {"storage"},
    "aiosqlite": {"storage", "hub.device"},  # a device's own file
    "sqlite3": {"storage", "hub.device"},
    "starlette": {"hub.api", "hub.base.web", "hub.device.review"},
    "mcp": {"hub.api"},  # an extra
    "uvicorn": {"hub.api", "hub.device.review"},
    "openai": {"hub.extraction"},
    "nats": {"hub.cluster"},
    "websockets": {"hub.links", "hub.device", "hub.openclaw"},
    "httpcore2": {"hub.base.outbound"},
    # The hub calls others by the rules of hub.base.outbound; a device calls the servers that its owner named.
    "httpx2": {"hub.base.outbound", "hub.cli", "hub.device.sinks.web"},
}
# All that the protocol may stand on: nothing here opens, waits, reads a clock or draws a lot.
PURE = {
    "abc",
    "base64",
    "bisect",
    "collections",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "inspect",
    "operator",
    "re",
    "types",
    "typing",
    "unicodedata",
}
PURE |= {"msgspec", "semver"}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

LOOSE_TASKS = {
    "asyncio.create_task",
    "asyncio.ensure_future",
    "asyncio.TaskGroup",
    "asyncio.run_coroutine_threadsafe",
}
CHANCE = {"random", "secrets"}
CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"uuid.uuid{version}" for version in (1, 4, 6, 7)),
    "os.urandom",
}
# Names in docstrings of packages that look like modules and are none: a folder of data.
NO_MODULES: Final = {"hub.connectors.manifests"}
QUOTED_NAME: Final = re.compile(r"``([a-z_]+(?:\.[a-z_]+)*)``")
# SQLite is a library: the database's own clock, which a server has, stands in storage.kernel.sqlite.
TIME_AND_CHANCE_COME_IN_AT = {"hub.base.clock", "storage.kernel.sqlite"}


OPENS_A_GROUP: Final = "create_task_group"
CATCH_A_GROUP: Final = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}
# Calls of these names lead to no group of errors: their tasks catch all errors, or return them to the block,
# which raises one after the group; ``read`` is that of another class.
RAISE_NO_GROUP: Final = {
    "hub.connectors.process": {"_call"},
    "hub.coordination.gateway_watch": {"_lead", "_turn"},
    "hub.device.run_reading": {"_read_with_reminders"},
    "hub.extraction.extractor": {"_ask_for_records", "_read_piece", "read"},
    "hub.lab.evaluation": {"read"},
    "hub.runs.mailbox_visit": {"_flush", "_pages", "_read_page", "read"},
}


Rule = Callable[[Collection[Module]], Iterator[str]]


def rooms_keep_to_their_floor(modules: Collection[Module]) -> Iterator[str]:
    """A room imports only what the table allows, and every module has a room."""
    names = {module.name for module in modules}
    for module in modules:
        room = _room(module.name)
        if room is None:
            yield f"{module.name}: has no row in the import table"
            continue
        for target, line in imports_of(module, names):
            if target.partition(".")[0] not in OWN:
                continue
            allowed = {room} - {"hub"} | MAY_IMPORT.get(room, set())
            if within(target, allowed) or _floor(target) < _floor(module.name):
                continue
            yield f"{module.name}:{line}: {room} may not import {target}"


def libraries_stand_in_their_rooms(modules: Collection[Module]) -> Iterator[str]:
    """SQL in storage, HTTP in the API, the model's client in extraction, sockets at both ends."""
    for module in modules:
        for target, line in imports_of(module):
            rooms = STANDS_IN.get(target.partition(".")[0])
            if rooms is not None and not within(module.name, rooms):
                yield f"{module.name}:{line}: {target} belongs in {' or '.join(sorted(rooms))}"


def the_protocol_does_no_io(modules: Collection[Module]) -> Iterator[str]:
    """Bytes and time in, events and bytes out: no clock, socket, file, logger or task in there."""
    for module in modules:
        if not within(module.name, {"protocol"}):
            continue
        for target, line in imports_of(module):
            if target.partition(".")[0] not in PURE | {"protocol"}:
                yield f"{module.name}:{line}: the protocol does not stand on {target}"
        for called, line in facts(module).calls:
            if called in IMPURE_CALLS:
                yield f"{module.name}:{line}: the protocol does not call {called}"
        for line in facts(module).waits:
            yield f"{module.name}:{line}: the protocol does not wait"


def nothing_imports_itself_by_a_detour(modules: Collection[Module]) -> Iterator[str]:
    """No circle among modules."""
    names = {module.name for module in modules}
    graph = {
        module.name: {target for target, _ in imports_of(module, names) if target in names} - {module.name}
        for module in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "a circle: " + " <- ".join(error.args[1])


def tasks_have_an_owner(modules: Collection[Module]) -> Iterator[str]:
    """Tasks are started in a task group that a block owns."""
    for module in modules:
        for used, line in facts(module).uses:
            loop, _, called = used.rpartition(".")
            if used in LOOSE_TASKS or (called in ("create_task", "ensure_future") and "loop" in loop):
                yield f"{module.name}:{line}: {used} leaves a task without an owner"


def time_and_chance_are_handed_in(modules: Collection[Module]) -> Iterator[str]:
    """Only hub.base.clock looks at a clock or draws a lot; the database has a clock of its own."""
    for module in modules:
        if module.name in TIME_AND_CHANCE_COME_IN_AT:
            continue
        for target, line in imports_of(module):
            if target.partition(".")[0] in CHANCE:
                yield f"{module.name}:{line}: {target} is chance; take a Chance or an IdFactory"
        for used, line in facts(module).uses:
            if used in CLOCKS:
                yield f"{module.name}:{line}: {used}; take a Clock, a Chance or an IdFactory"


def errors_of_task_groups_are_caught(modules: Collection[Module]) -> Iterator[str]:
    """No ``except X`` around a task group of the module: it does not catch a group of errors with an X."""
    for module in modules:
        if OPENS_A_GROUP not in module.source:
            continue
        tree = tree_of(module)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
        groups, before = {OPENS_A_GROUP}, 0
        while before < len(groups):
            before = len(groups)
            groups |= {function.name for function in functions if _called(function.body) & groups}
        groups -= RAISE_NO_GROUP.get(module.name, set())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Try) or not _called(node.body) & groups:
                continue
            for handler in node.handlers:
                named = _names(handler.type)
                if not named & CATCH_A_GROUP and not named <= {"get_cancelled_exc_class", "GeneratorExit"}:
                    yield (
                        f"{module.name}:{handler.lineno}: does not catch errors of the tasks; "
                        "write except*, or catch Exception and ask first_error"
                    )


def _called(body: Sequence[ast.stmt]) -> set[str]:
    """Return the names of functions and methods that are called in *body*."""
    calls = (node for part in body for node in ast.walk(part) if isinstance(node, ast.Call))
    return {_last_name(call.func) for call in calls}


def _names(caught: ast.expr | None) -> set[str]:
    """Return the names of the classes that an ``except`` catches; a bare one catches all."""
    if caught is None:
        return {"BaseException"}
    return {_last_name(one) for one in (caught.elts if isinstance(caught, ast.Tuple) else [caught])}


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def packages_name_modules_that_exist(modules: Collection[Module]) -> Iterator[str]:
    """A name between double backticks in a package's docstring is a module, or what a module defines."""
    sources = {module.name: module.source for module in modules} | dict.fromkeys(NO_MODULES, "")
    for package in modules:
        if not package.is_package:
            continue
        around = (f"{package.name}.", f"{package.name.rpartition('.')[0]}.", "")
        for docstring in facts(package).docstrings:
            for name in QUOTED_NAME.findall(docstring.text) if docstring.of == "module" else ():
                inner, _, last = name.rpartition(".")
                defining = re.compile(rf"\b(?:def|class) {last}\b")
                if not any(
                    outer + name in sources or (inner and defining.search(sources.get(outer + inner, "")))
                    for outer in around
                ):
                    yield f"{package.name}:{docstring.line}: there is no module {name}"


RULES: tuple[Rule, ...] = (
    rooms_keep_to_their_floor,
    libraries_stand_in_their_rooms,
    the_protocol_does_no_io,
    nothing_imports_itself_by_a_detour,
    tasks_have_an_owner,
    errors_of_task_groups_are_caught,
    time_and_chance_are_handed_in,
    packages_name_modules_that_exist,
)


def _room(name: str) -> str | None:
    """The row of the table that *name* stands in: the longest that fits."""
    fitting = [room for room in {*MAY_IMPORT, *TOP} - {"hub"} if within(name, {room})]
    return max(fitting, key=len, default="hub" if name == "hub" else None)


def _floor(name: str) -> int:
    """Return the number of a room's floor in ``UPPER``, from 1; 0 below them."""
    return next((floor for floor, rooms in enumerate(UPPER, 1) if within(name, rooms)), 0)


def within(name: str, rooms: Collection[str]) -> bool:
    """True if module *name* is one of *rooms* (packages or modules) or stands in one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)
