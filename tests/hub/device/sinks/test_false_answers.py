"""Servers that answer with success although they failed, list strange things, or have weak ETags."""

import json
import re
from pathlib import Path

import pytest

from hub.text.rows.row_keys import key_of
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.servers import Asked, Reply
from tests.support.radicale import Radicale

TITLES = ("Call Ana", "Pay", "Write")
FAILED = [Reply(200, b'{"error": "try later"}'), Reply(200, b"<html>"), Reply(200, b"[]")]


@pytest.mark.parametrize("failed", FAILED)
def test_edit_answered_by_an_error_with_status_200_is_kept_and_written_later(
    tmp_path: Path, bench: SinkBench, failed: Reply
) -> None:
    with rest_place(tmp_path) as place:
        ids = [bench.approve({"title": title}) for title in TITLES]
        for _ in range(2):
            bench.synchronize(place.target)
        bench.change(ids[0], {"title": "Ring Ana"})
        bench.change(ids[1], {"title": "Pay all"})
        forward = place.proxy._forward
        place.proxy._forward = lambda asked: failed if b"Ring" in asked.body else forward(asked)  # type: ignore[method-assign]
        for _ in range(2):
            assert "'Ring Ana': " in bench.synchronize(place.target).problem
        assert [bench.state(row) for row in ids] == ["outdated refused", "arrived", "arrived"]
        place.proxy._forward = forward  # type: ignore[method-assign]
        bench.clock.advance(7 * 3_600)
        for _ in range(2):
            assert bench.synchronize(place.target).problem == ""
        assert [bench.row(row)["title"] for row in ids] == ["Ring Ana", "Pay all", "Write"]
        assert (place.text.count("Ring Ana"), place.text.count("Call Ana")) == (1, 0)


@pytest.mark.parametrize("action", ["close", "delete"])
@pytest.mark.parametrize("failed", FAILED)
def test_closing_or_removal_answered_by_an_error_with_status_200_is_done_later(
    tmp_path: Path, bench: SinkBench, failed: Reply, action: str
) -> None:
    with rest_place(tmp_path) as place:
        ids = [bench.approve({"title": title}) for title in TITLES]
        for _ in range(2):
            bench.synchronize(place.target)
        bench.change(ids[0], {"status": "done"}) if action == "close" else bench.delete(ids[0])
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply:
            return failed if asked.method == "DELETE" or asked.path.endswith("close") else forward(asked)

        place.proxy._forward = answer  # type: ignore[method-assign]
        for _ in range(2):
            assert "changes nothing" in bench.synchronize(place.target).problem
        place.proxy._forward = forward  # type: ignore[method-assign]
        bench.clock.advance(7 * 3_600)
        for _ in range(2):
            assert bench.synchronize(place.target).problem == ""
        there = [task for task in place.tasks.tasks.values() if task["content"] == "Call Ana"]
        assert [task["checked"] for task in there] == ([True] if action == "close" else [])
        assert action == "delete" or bench.row(ids[0])["status"] == "done"


def test_edit_carried_out_and_answered_without_the_item_is_written_once(
    tmp_path: Path, bench: SinkBench
) -> None:
    with rest_place(tmp_path) as place:
        row = bench.approve({"title": "Call Ana"})
        for _ in range(2):
            bench.synchronize(place.target)
        bench.change(row, {"title": "Ring Ana"})
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply:
            reply = forward(asked)
            return Reply(200, b'{"ok": true}') if b"Ring" in asked.body else reply

        place.proxy._forward = answer  # type: ignore[method-assign]
        assert [bench.synchronize(place.target).written for _ in range(2)] == [1, 0]
        assert (bench.row(row)["title"], bench.state(row)) == ("Ring Ana", "arrived")


@pytest.mark.parametrize("failed", FAILED)
def test_done_item_answered_by_an_error_with_status_200_is_not_deleted(
    tmp_path: Path, bench: SinkBench, failed: Reply
) -> None:
    with rest_place(tmp_path) as place:
        row = bench.approve({"title": "Call Ana"})
        bench.approve({"title": "Pay"})
        for _ in range(2):
            bench.synchronize(place.target)
        key = key_of("tasks", row)
        (task_id,) = (one for one, task in place.tasks.tasks.items() if key in task["description"])
        place.tasks.change(task_id, {"checked": True})
        forward = place.proxy._forward
        place.proxy._forward = lambda asked: failed if asked.path.endswith(task_id) else forward(asked)  # type: ignore[method-assign]
        synced = bench.synchronize(place.target)
        assert (synced.deleted, task_id in synced.problem, bench.state(row)) == (0, True, "arrived")
        place.proxy._forward = forward  # type: ignore[method-assign]
        assert bench.synchronize(place.target).problem == ""
        assert bench.row(row)["status"] == "done"


@pytest.mark.parametrize("strange", [None, "text", {"content": "of others"}])
def test_listed_thing_without_an_id_is_left_out_alone(
    tmp_path: Path, bench: SinkBench, strange: object
) -> None:
    with rest_place(tmp_path) as place:
        row = bench.approve({"title": "Call Ana"})
        bench.synchronize(place.target)
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply:
            reply = forward(asked)
            if asked.method != "GET" or b"results" not in reply.body:
                return reply
            page = json.loads(reply.body)
            return reply._replace(body=json.dumps(page | {"results": [strange, *page["results"]]}).encode())

        place.proxy._forward = answer  # type: ignore[method-assign]
        bench.change(row, {"title": "Ring Ana"})
        assert (bench.synchronize(place.target).problem, place.text.count("Ring Ana")) == ("", 1)


@pytest.mark.parametrize("compares", ["as they are", "without the mark"])
def test_object_with_a_weak_etag_is_changed_and_removed(
    radicale: Radicale, tmp_path: Path, bench: SinkBench, compares: str
) -> None:
    with caldav_place(radicale, tmp_path) as place:
        forward = place.proxy._forward

        def answer(asked: Asked) -> Reply:
            version = asked.headers.get("if-match", "")
            if version.startswith("W/") != (compares == "as they are") and version:
                return Reply(412)
            headers = {**asked.headers, "accept-encoding": "identity"}
            reply = forward(
                asked._replace(headers=headers | ({"if-match": version[-66:]} if version else {}))
            )
            weak = {
                name: f"W/{value}" if name.lower() == "etag" else value
                for name, value in reply.headers.items()
            }
            body = re.sub(rb'(getetag>)("|&quot;)', rb"\1W/\2", reply.body)
            return reply._replace(headers=weak, body=body)

        place.proxy._forward = answer  # type: ignore[method-assign]
        ids = [bench.approve({"title": title}) for title in TITLES]
        bench.synchronize(place.target)
        for target in (place.target, place.open()):
            bench.change(ids[0], {"title": f"{bench.row(ids[0])['title']} now"})
            assert bench.synchronize(target).problem == ""
        bench.delete(ids[1])
        assert bench.synchronize(place.target).problem == ""
        assert [place.text.count(words) for words in ("Call Ana now now", "Pay", "Write")] == [1, 0, 1]


_STATUS = b"<response><href>/x</href><status>HTTP/1.1 %d No</status></response>"
_MANY = b'<multistatus xmlns="DAV:">' + _STATUS + b"</multistatus>"


@pytest.mark.parametrize("status", [403, 423, 500, 507])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_object_refused_in_an_answer_of_several_statuses_waits_alone(
    radicale: Radicale, tmp_path: Path, bench: SinkBench, method: str, status: int
) -> None:
    with caldav_place(radicale, tmp_path) as place:
        ids = [bench.approve({"title": title}) for title in TITLES]
        key, forward = key_of("tasks", ids[1]), place.proxy._forward

        def answer(asked: Asked) -> Reply:
            is_refused = asked.method == method and key in asked.path
            return Reply(207, _MANY % status) if is_refused else forward(asked)

        place.proxy._forward = answer  # type: ignore[method-assign]
        bench.synchronize(place.target)
        if method == "DELETE":
            bench.delete(ids[1])
        assert f"({status})" in bench.synchronize(place.target).problem
        assert [place.text.count(title) for title in TITLES] == [1, int(method == "DELETE"), 1]
        place.proxy._forward = forward  # type: ignore[method-assign]
        bench.clock.advance(7 * 3_600)
        assert bench.synchronize(place.target).problem == ""
        assert [place.text.count(title) for title in TITLES] == [1, int(method == "PUT"), 1]


@pytest.mark.parametrize("reply", [Reply(500), Reply(207, b"<multistatus"), Reply(207)])
def test_calendar_whose_server_fails_is_not_named_as_another_kind_of_place(
    radicale: Radicale, tmp_path: Path, bench: SinkBench, reply: Reply
) -> None:
    with caldav_place(radicale, tmp_path) as place:
        row = bench.approve({"title": "Call Ana"})
        place.proxy.faults = [reply]
        assert "answers w" in bench.synchronize(place.target).problem
        assert bench.state(row) == "waiting failed"
        assert (bench.synchronize(place.target).problem, bench.state(row)) == ("", "arrived")
