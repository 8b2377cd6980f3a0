"""The plan as a test: each rule holds in the house, and each finds a violation that is planted."""

import pytest

from tests.house.rules import (
    RULES,
    Rule,
    errors_of_task_groups_are_caught,
    libraries_stand_in_their_rooms,
    nothing_imports_itself_by_a_detour,
    packages_name_modules_that_exist,
    rooms_keep_to_their_floor,
    tasks_have_an_owner,
    the_protocol_does_no_io,
    time_and_chance_are_handed_in,
)
from tests.support.families import each
from tests.support.source import Import, Module, imports_of, modules_of_the_product

HOUSE = modules_of_the_product()


@each("rule", RULES)
def test_source_tree_breaks_no_layer_rule(rule: Rule) -> None:
    assert list(rule(HOUSE)) == []


def test_layer_rules_are_applied_to_all_packages() -> None:
    names = {module.name for module in HOUSE}
    assert {"protocol.session", "storage", "hub", "hub.base.clock", "hub.links"} <= names


GROUP = "async def serve():\n    async with create_task_group() as tasks:\n        tasks.start_soon(f)\n"
AROUND = "async def keep():\n    try:\n        await self.serve()\n    except {}:\n        pass\n"
PLANTED: list[tuple[Rule, str, str]] = [
    (errors_of_task_groups_are_caught, "hub.runs.runner", GROUP + AROUND.format("StorageError")),
    (
        errors_of_task_groups_are_caught,
        "hub.runs.runner",
        GROUP + AROUND.format("(OSError, Conflict) as e"),
    ),
    (
        errors_of_task_groups_are_caught,
        "hub.runs.runner",
        GROUP + "async def lead():\n    await serve()\n" + AROUND.format("OSError").replace("serve", "lead"),
    ),
    (
        errors_of_task_groups_are_caught,
        "storage.store",
        "async def f():\n    try:\n        async with create_task_group(): ...\n    except OSError: ...",
    ),
    (rooms_keep_to_their_floor, "protocol.frame", "import storage.store"),
    (rooms_keep_to_their_floor, "protocol.frame", "from hub.base.clock import Clock"),
    (rooms_keep_to_their_floor, "storage.runs.runs", "from hub import clock"),
    (rooms_keep_to_their_floor, "storage.kernel.migrations.versions.0001_first", "import storage.schema"),
    (rooms_keep_to_their_floor, "hub.base.clock", "from hub.links.roster import DeviceLink"),
    (rooms_keep_to_their_floor, "hub.text.letter_text", "from hub.document import Document"),
    (rooms_keep_to_their_floor, "hub.links.auth", "from hub.runs.runner import Runner"),
    (rooms_keep_to_their_floor, "hub.links.auth", "from ..runs import runner"),
    (rooms_keep_to_their_floor, "hub.links.auth", "def f():\n    import hub.api.http.server"),
    (rooms_keep_to_their_floor, "hub.links.auth", "if TYPE_CHECKING:\n    from hub.agents import declared"),
    (rooms_keep_to_their_floor, "hub.links.auth", "importlib.import_module('hub.app.daemon')"),
    (rooms_keep_to_their_floor, "hub.runs.runner", "from hub.app.hub import Router"),
    (rooms_keep_to_their_floor, "hub.device.client", "from hub.links.roster import DeviceLink"),
    (rooms_keep_to_their_floor, "hub.extraction.endpoint", "from storage.store import Store"),
    (rooms_keep_to_their_floor, "hub", "from hub.base.clock import Clock"),
    (rooms_keep_to_their_floor, "hub.utils", "x = 1"),
    (rooms_keep_to_their_floor, "hub.health.work", "from hub.api.resource import Noun"),
    (rooms_keep_to_their_floor, "hub.settings.reload", "from hub.health.issues import Issues"),
    (libraries_stand_in_their_rooms, "hub.runs.runner", "import sqlalchemy as sa"),
    (libraries_stand_in_their_rooms, "hub.api.resources", "from sqlalchemy.exc import DBAPIError"),
    (libraries_stand_in_their_rooms, "hub.cli.show", "import sqlite3"),
    (libraries_stand_in_their_rooms, "hub.cli.app", "def f():\n    import uvicorn"),
    (libraries_stand_in_their_rooms, "hub.links.listener", "from starlette.requests import Request"),
    (libraries_stand_in_their_rooms, "hub.runs.runner", "import openai"),
    (libraries_stand_in_their_rooms, "hub.api.http.server", "from websockets.asyncio.server import serve"),
    (the_protocol_does_no_io, "protocol.session", "import asyncio"),
    (the_protocol_does_no_io, "protocol.session", "from anyio import sleep"),
    (the_protocol_does_no_io, "protocol.session", "import logging"),
    (the_protocol_does_no_io, "protocol.session", "def f():\n    import os.path"),
    (the_protocol_does_no_io, "protocol.session", "from pathlib import Path"),
    (the_protocol_does_no_io, "protocol.session", "import random"),
    (the_protocol_does_no_io, "protocol.session", "import socket, ssl"),
    (the_protocol_does_no_io, "protocol.session", "from time import monotonic"),
    (the_protocol_does_no_io, "protocol.session", "from datetime import datetime"),
    (the_protocol_does_no_io, "protocol.session", "open('x')"),
    (the_protocol_does_no_io, "protocol.session", "async def f(): ..."),
    (tasks_have_an_owner, "hub.runs.runner", "import asyncio\nasyncio.create_task(f())"),
    (tasks_have_an_owner, "hub.runs.runner", "import asyncio as aio\naio.ensure_future(f())"),
    (tasks_have_an_owner, "hub.runs.runner", "from asyncio import create_task as go\ngo(f())"),
    (tasks_have_an_owner, "hub.runs.runner", "async with asyncio.TaskGroup() as tg: ..."),
    (tasks_have_an_owner, "hub.runs.runner", "asyncio.get_running_loop().create_task(f())"),
    (tasks_have_an_owner, "hub.runs.runner", "self._loop.create_task(f())"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "import time\ntime.time()"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "from time import monotonic"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "import datetime as dt\ndt.datetime.now()"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "from datetime import datetime\ndatetime.now(UTC)"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "from datetime import date\nf(default=date.today)"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "from uuid import uuid4"),
    (time_and_chance_are_handed_in, "hub.runs.runner", "import uuid\nuuid.uuid4()"),
    (time_and_chance_are_handed_in, "storage.runs.runs", "from random import random"),
    (time_and_chance_are_handed_in, "hub.links.auth", "import secrets"),
    (time_and_chance_are_handed_in, "hub.links.auth", "import os\nos.urandom(8)"),
]


@each(("rule", "name", "source"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, name: str, source: str) -> None:
    assert len(list(rule([Module(name, source)]))) >= 1


@each(
    ("name", "is_known"),
    [
        ("runner", True),
        ("runs", True),
        ("hub.runs.runner", True),
        ("runner.start", True),
        ("running", False),
        ("runner.stop", False),
        ("links.runner", False),
    ],
)
def test_unknown_module_in_a_package_docstring_is_found(name: str, is_known: bool) -> None:
    package = Module("hub.runs", f'"""Runs: ``{name}`` starts them."""', is_package=True)
    runner = Module("hub.runs.runner", "def start(): ...")
    assert (list(packages_name_modules_that_exist([package, runner])) == []) is is_known


ALLOWED: list[tuple[str, str]] = [
    ("protocol.session", "from protocol.codec import Codec\nimport msgspec"),
    ("storage.runs.runs", "import sqlalchemy as sa\nfrom protocol.ids import RunId\nfrom . import database"),
    ("hub.base.clock", "import random, secrets, time\nfrom protocol.ids import spell_id\ntime.time()"),
    ("hub.links.auth", "from storage.store import Store\nfrom hub.links.roster import DeviceLink"),
    ("hub.links.listener", "from websockets.asyncio.server import serve"),
    ("hub.runs.runner", "from datetime import datetime\ndatetime.fromtimestamp(0, UTC)\ngroup.start_soon(f)"),
    ("hub.device.client", "import aiosqlite\nimport websockets\nfrom hub.base.log import Channel"),
    ("hub.runs.runner", GROUP + AROUND.format("Exception")),
    ("hub.runs.runner", GROUP + AROUND.format("StorageError").replace("except", "except*")),
    ("hub.app.daemon", "from hub.api.http.server import OperatorServer\nfrom hub.runs.runner import Runner"),
    ("hub.api.http.server", "import uvicorn\nfrom hub.health.issues import Issues"),
]


@pytest.mark.parametrize(("name", "source"), ALLOWED, ids=lambda part: part)
def test_allowed_imports_are_not_found(name: str, source: str) -> None:
    assert [finding for rule in RULES for finding in rule([Module(name, source)])] == []


def test_import_cycle_among_modules_is_found() -> None:
    circle = [
        Module("hub.runs.a", "from hub.runs import b"),
        Module("hub.runs.b", "def f():\n    from .c import g"),
        Module("hub.runs.c", "import hub.runs.a"),
    ]
    assert len(list(nothing_imports_itself_by_a_detour(circle))) == 1
    assert list(nothing_imports_itself_by_a_detour(circle[:2])) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        (Module("hub.links.auth", "from .roster import DeviceLink"), "hub.links.roster"),
        (Module("hub.links.auth", "from . import roster"), "hub.links.roster"),
        (Module("hub.links.auth", "from ..base.clock import Clock"), "hub.base.clock"),
        (Module("hub.links", "from .roster import DeviceLink", is_package=True), "hub.links.roster"),
        (Module("hub.links", "from . import roster", is_package=True), "hub.links.roster"),
        (Module("hub.links.auth", "from hub.links import roster"), "hub.links.roster"),
        (Module("hub.links.auth", "from hub.links import NAME"), "hub.links"),
    ],
    ids=str,
)
def test_import_is_found_in_each_spelling(module: Module, target: str) -> None:
    assert list(imports_of(module, {"hub.links.roster", "hub.base.clock"})) == [Import(target, 1)]
