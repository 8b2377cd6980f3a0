"""``hub logs`` and ``hub debug``: looking into a running hub, and into several nodes."""

import json
import re
import stat
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from hub.api.resources.logs import LogsResource
from hub.base.log import LogEntry, LogFile, Ring
from hub.cli import logs
from hub.cli.doctor import of_nodes
from hub.cli.errors import Exit
from hub.cli.logs import merged
from storage.kernel.database import DatabaseUnavailable
from tests.hub.cli.conftest import Hub, ends
from tests.support.hub import ServedHub, serving

RUN = "019b8d2e-1f00-7abc-8def-0123456789ab"
AT = 1_767_604_442_000
SECRET = "hub_dev_0123456789abcdefghijABCDEFGHIJ0123456789"


def append_event(served: ServedHub, event: str, level: str = "info", **fields: object) -> None:
    served.ring.append(at=AT, level=level, event=event, channel="hub.x", fields=fields)


def test_logs_command_prints_events_in_order_with_fields(hub: Hub, served: ServedHub) -> None:
    ends(hub("logs"), Exit.DONE, "no matching events")
    append_event(served, "hub.ready")
    append_event(served, "run.moved", run_id=RUN, state="RUNNING")
    result = hub("logs")
    assert result.exit_code == Exit.DONE
    first, second = result.stdout.splitlines()
    assert first.endswith(" info    hub.ready: the hub is ready")
    assert second.endswith(f" run.moved: the run moved to another state; run_id={RUN[-8:]} state=RUNNING")


def test_logs_command_prints_events_while_the_database_is_away(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("the database did not answer in time")

    append_event(served, "run.moved", run_id=RUN)
    with monkeypatch.context() as away:
        away.setattr(served.store, "read", refuse)
        ends(hub("agents"), Exit.TRY_AGAIN, "the database did not answer in time")
        assert "run.moved" in hub("logs").stdout


def test_logs_command_filters_by_run_level_or_device(hub: Hub, served: ServedHub) -> None:
    append_event(served, "run.moved", run_id=RUN)
    append_event(served, "unit.unread", "warning", run_id=RUN)
    append_event(served, "disk.full", "error")
    printed = json.loads(hub("logs", "--run", RUN[-8:], "--level", "warning", "--json").stdout)
    assert printed["schema"] == "hub.logs/1"
    assert [entry["event"] for entry in printed["entries"]] == ["unit.unread"]
    (desk,) = json.loads(hub("devices", "--json").stdout)["devices"]
    for device in (desk["id"], "d-other"):
        append_event(served, "device.connected", device_id=device)
    printed = json.loads(hub("logs", "--device", "desk", "--json").stdout)
    assert [entry["fields"]["device_id"] for entry in printed["entries"]] == [desk["id"]]
    ends(hub("logs", "--device", "tower"), Exit.FAILED, "tower")


def test_logs_since_shows_events_before_a_restart_with_dates(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    file = LogFile(tmp_path / "log", 1_000_000)
    entries = [
        LogEntry(number, AT - ago_h * 3_600_000, "info", "hub.started", "hub", {})
        for number, ago_h in ((1, 30), (2, 16), (3, 14))
    ]
    file.write(entries)
    ring = Ring(last=3)
    served.resources.add(LogsResource(ring, served.store, file))
    ring.append(at=AT, level="info", event="run.moved", channel="hub", fields={})
    printed = hub("logs", "--since", "yesterday 16:30").stdout.splitlines()
    assert printed == [
        "2026-01-04 17:14:02 UTC info    hub.started",
        "2026-01-04 19:14:02 UTC info    hub.started",
        "2026-01-05 09:14:02 UTC info    run.moved: the run moved to another state",
    ]
    assert len(hub("logs", "--since", "2d", "--until", "yesterday 18:00").stdout.splitlines()) == 2
    assert hub("logs").stdout.splitlines() == printed[2:]
    assert "leave out --since" in hub("logs", "--follow", "--since", "2h").stderr


def test_logs_follow_prints_new_events_until_ctrl_c(
    hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, printed = logs.print_entry, list[str]()

    def print_and_go_on(entry: Mapping[str, Any], *, as_json: bool) -> None:
        original(entry, as_json=as_json)
        printed.append(entry["event"])
        if printed == ["hub.ready"]:
            append_event(served, "run.moved")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(logs, "print_entry", print_and_go_on)
    append_event(served, "hub.ready")
    result = hub("logs", "--follow", "--json")
    assert result.exit_code == Exit.DONE
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["hub.ready", "run.moved"]


def test_logs_follow_fails_when_the_hub_stops(
    hub: Hub, state: Path, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    with ExitStack() as running:
        served = running.enter_context(portal.wrap_async_context_manager(serving(state)))
        monkeypatch.setattr(logs, "print_entry", lambda *_, **__: running.close())
        append_event(served, "hub.ready")
        result = hub("logs", "--follow")
    assert (result.exit_code, "the hub stopped" in result.stderr) == (Exit.TRY_AGAIN, True)


def test_debug_dump_prints_queues_threads_and_tasks(hub: Hub, served: ServedHub) -> None:
    served.context.debug.queues["router"] = lambda: 3
    result = hub("debug", "dump")
    assert result.exit_code == Exit.DONE
    assert re.search(r"router +3\b", result.stdout)
    assert "thread MainThread" in result.stdout
    printed = json.loads(hub("debug", "dump", "--json").stdout)
    assert printed["schema"] == "hub.dump/1"
    assert any("uvicorn" in place for task in printed["tasks"] for place in task["stack"])


def bundled(file: Path) -> dict[str, str]:
    """The files of an archive, by name, and what is in them."""
    with tarfile.open(file) as archive:
        members = archive.getmembers()
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in members
        }


def test_debug_bundle_contains_diagnostics_and_no_secrets(
    hub: Hub, served: ServedHub, tmp_path: Path
) -> None:
    append_event(served, "call.refused", detail=f"with {SECRET}", prompt="call Ann")
    config = tmp_path / "hub.toml"
    config.write_text(f'[model]\nkind = "openai"\napi_key = "sk-abcdefghijklmnopqrst"\n# {SECRET}\n')
    file = tmp_path / "fault.tar.gz"
    ends(hub("debug", "bundle", str(file), "--config", str(config)), Exit.DONE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    parts = bundled(file)
    assert parts.keys() >= {"about.json", "status.json", "log.jsonl", "dump.json", "hub.toml", "folder.txt"}
    whole = "\n".join(parts.values())
    for secret in (SECRET, "sk-abcdefghijklmnopqrst", "call Ann"):
        assert secret not in whole
    assert "hub_dev_[redacted]" in parts["log.jsonl"]
    assert json.loads(parts["status.json"])["name"] == "home"
    assert "hub.sock" in parts["folder.txt"]


def test_debug_bundle_does_not_overwrite_a_file(hub: Hub, served: ServedHub, tmp_path: Path) -> None:
    file = tmp_path / "fault.tar.gz"
    file.write_text("precious")
    ends(hub("debug", "bundle", str(file)), Exit.CANNOT_CREATE)
    assert file.read_text() == "precious"


def test_debug_bundle_is_written_without_a_running_hub(hub: Hub, state: Path, tmp_path: Path) -> None:
    state.mkdir()
    file = tmp_path / "fault.tar.gz"
    ends(hub("debug", "bundle", str(file), "--config", str(tmp_path / "hub.toml")), Exit.DONE)
    about = json.loads(bundled(file)["about.json"])
    assert about["missing"].keys() == {"hub.toml", "all that a running hub tells"}


def test_tables_command_lists_full_table_names(hub: Hub, served: ServedHub) -> None:
    names = [line.split()[0] for line in hub("tables").stdout.splitlines()[1:]]
    assert names == ["notes", "projects", "taskComments", "tasks", "timelines"]


def _node(id: str, **body: Any) -> dict[str, Any]:
    return {"id": id, "name": "desk", "status": 200, "body": body}


def _issue(id: str, explanation: str, fix: str = "") -> dict[str, Any]:
    return {"id": id, "subject": "", "explanation": explanation, "fix": fix}


def test_log_events_of_all_nodes_are_merged_by_time_with_node_names() -> None:
    first, second = ({"at": f"2026-01-05T09:00:0{second}Z", "seq": 1} for second in (1, 2))
    found = [_node("aaaaaa", entries=[first]), _node("bbbbbb", entries=[second])]
    assert [(one["node"], one["at"][-3:]) for one in merged(found)] == [("bbbbbb", "02Z"), ("aaaaaa", "01Z")]
    assert [one["node"] for one in merged([node | {"name": node["id"][0]} for node in found])] == ["b", "a"]


def test_issue_of_all_nodes_is_shown_once_and_others_with_the_node() -> None:
    shared, own = _issue("backup.missing", "no backup"), _issue("disk.full", "full")
    found = [
        _node("aaaaaa", issues=[shared, own]),
        _node("bbbbbb", issues=[shared]),
    ]
    assert [one["explanation"] for one in of_nodes(found)] == ["no backup", "desk (aaaaaa): full"]


def test_issue_with_a_different_fix_per_node_is_shown_for_each_node() -> None:
    found = [
        _node(id, issues=[_issue("keys.missing", "1 sign-in", fix=f"hub keys share {id} CODE")])
        for id in ("aaaaaa", "bbbbbb")
    ]
    assert [(one["explanation"], one["fix"]) for one in of_nodes(found)] == [
        ("desk (aaaaaa): 1 sign-in", "hub keys share aaaaaa CODE"),
        ("desk (bbbbbb): 1 sign-in", "hub keys share bbbbbb CODE"),
    ]


def test_nodes_commands_of_a_single_hub_reach_only_the_single_node(hub: Hub, served: ServedHub) -> None:
    assert "alive, this node" in hub("nodes").stdout
    assert hub("nodes", "rm", "node").exit_code == 1
    served.ring.append(at=served.now_ms, level="info", event="run.moved", channel="hub.runs", fields={})
    (line,) = hub("logs", "--all-nodes").stdout.splitlines()
    assert line.endswith(hub("--node", "node", "logs").stdout.strip()) and "run.moved" in line
    assert hub("--node", "other", "status").exit_code == 1
    issues = [hub("doctor", *words, "--json").stdout for words in ((), ("--all-nodes",))]
    assert issues[0] == issues[1]
