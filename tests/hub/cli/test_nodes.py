"""Commands that show several nodes together; what each node answers is tested with two hubs."""

from typing import Any

from hub.cli.doctor import of_nodes
from hub.cli.logs import merged
from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub


def _node(id: str, **body: Any) -> dict[str, Any]:
    return {"id": id, "name": "desk", "status": 200, "body": body}


def _issue(id: str, explanation: str, fix: str = "") -> dict[str, Any]:
    return {"id": id, "subject": "", "explanation": explanation, "fix": fix}


def test_events_of_nodes_are_merged_by_time_and_each_names_its_node() -> None:
    first, second = ({"at": f"2026-01-05T09:00:0{second}Z", "seq": 1} for second in (1, 2))
    found = [_node("aaaaaa", entries=[first]), _node("bbbbbb", entries=[second])]
    assert [(one["node"], one["at"][-3:]) for one in merged(found)] == [("bbbbbb", "02Z"), ("aaaaaa", "01Z")]
    assert [one["node"] for one in merged([node | {"name": node["id"][0]} for node in found])] == ["b", "a"]


def test_an_issue_that_all_nodes_have_is_shown_once_and_one_of_some_names_them() -> None:
    shared, own = _issue("backup.missing", "no backup"), _issue("disk.full", "full")
    found = [
        _node("aaaaaa", issues=[shared, own]),
        _node("bbbbbb", issues=[shared]),
    ]
    assert [one["explanation"] for one in of_nodes(found)] == ["no backup", "desk (aaaaaa): full"]


def test_an_issue_that_each_node_fixes_in_its_own_way_is_shown_for_each_of_them() -> None:
    found = [
        _node(id, issues=[_issue("keys.missing", "1 sign-in", fix=f"hub keys share {id} CODE")])
        for id in ("aaaaaa", "bbbbbb")
    ]
    assert [(one["explanation"], one["fix"]) for one in of_nodes(found)] == [
        ("desk (aaaaaa): 1 sign-in", "hub keys share aaaaaa CODE"),
        ("desk (bbbbbb): 1 sign-in", "hub keys share bbbbbb CODE"),
    ]


def test_a_hub_without_others_is_listed_and_asked_by_its_name(hub: Hub, served: ServedHub) -> None:
    assert "alive, this node" in hub("nodes").stdout
    assert hub("nodes", "rm", "node").exit_code == 1
    served.ring.append(at=served.now_ms, level="info", event="run.moved", channel="hub.runs", fields={})
    (line,) = hub("logs", "--all-nodes").stdout.splitlines()
    assert line.endswith(hub("--node", "node", "logs").stdout.strip()) and "run.moved" in line
    assert hub("--node", "other", "status").exit_code == 1
    issues = [hub("doctor", *words, "--json").stdout for words in ((), ("--all-nodes",))]
    assert issues[0] == issues[1]
