"""Requests of devices: their queue, limits and grants, and those about runs, reviews and places."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hub.api import device as service
from hub.api.resources import agents as agents_resource
from hub.base.clock import epoch_ms
from hub.base.roles import DEVICE_REQUESTS
from hub.base.toml.limits import Limits
from protocol.coordination import Method, Response
from protocol.errors import ErrorCode
from protocol.frame import Parameter, Parameters
from protocol.grants import Grant
from protocol.keys import key_id
from protocol.lifecycles import RunOutcome, RunState
from storage import audit, changes
from storage.agents import agents
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.devices import devices, keys
from storage.runs import item_lists, run_claims, runs
from storage.runs.item_lists import ItemFilter
from storage.schema import devices as device_rows
from tests.hub.api.test_device_requests import MAIL
from tests.support.families import each
from tests.support.keys import KeyPair
from tests.support.link import FakeLink
from tests.support.requests import ask, make_requests, refused, request, result, serving
from tests.support.runs import Bench, agent, bench, folder, store
from tests.support.wire import until

__all__ = ["agent", "bench", "store"]


async def test_device_starts_a_run_once_for_a_key(bench: Bench) -> None:
    first = await result(bench, "runs.start", agent_id="notes", idempotency_key="k")
    assert await result(bench, "runs.start", agent_id=bench.agent.id, idempotency_key="k") == first
    assert first["run"]["state"] == RunState.QUEUED


async def test_device_reads_and_cancels_own_runs(bench: Bench) -> None:
    row = await bench.control.submit(bench.agent)
    assert (await result(bench, "runs.get", run_id=row.id))["run"]["state"] == RunState.QUEUED
    await result(bench, "runs.cancel", run_id=row.id)
    assert [run["state"] for run in (await result(bench, "runs.list"))["runs"]] == [RunState.CANCELLED]


async def test_device_reports_verdicts_of_own_items_and_repeats_are_idempotent(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    verdicts: Parameter = [
        {"call_id": link.calls[0].id, "verdict": "rejected"},
        {"call_id": "c-unknown", "verdict": "approved"},
    ]
    foreign = await ask(bench, "review.report", FakeLink("another"), verdicts=verdicts)
    assert foreign.result == {"known": 0, "unknown": 2}
    for _ in range(2):
        assert await result(bench, "review.report", verdicts=verdicts) == {"known": 1, "unknown": 1}
    (listed,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
    assert listed.row.verdict == "rejected"
    entries = await bench.store.read(audit.list_entries, event="item.judged")
    assert [one.detail for one in entries] == ['{"rejected":1}']
    assert bench.metrics.registry.get_sample_value("hub_verdicts_unknown_total") == 4


@pytest.mark.parametrize("word", ["approved", "edited", "rejected"])
@pytest.mark.parametrize("again", ["open", "approved"])
async def test_item_whose_owner_took_the_verdict_back_is_as_the_device_reports(
    bench: Bench, word: str, again: str
) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    (listed,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
    for said in (word, again, again):
        verdicts: Parameter = [{"call_id": link.calls[0].id, "verdict": said}]
        assert await result(bench, "review.report", verdicts=verdicts) == {"known": 1, "unknown": 0}
    (after,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
    assert (after.row.verdict, after.row.verdict_at is None) == (again, again == "open")
    assert (after.row.source or {})["quote"] == (listed.row.source or {})["quote"]
    counted = [one.detail for one in await bench.store.read(audit.list_entries, event="item.judged")]
    assert sorted(str(detail) for detail in counted) == sorted(f'{{"{one}":1}}' for one in {word, again})


async def test_verdicts_over_an_older_connection_are_not_written(bench: Bench) -> None:
    """The hub was frozen, and the device has told another hub since that its owner approves."""
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    await bench.store.write(lambda c: c.execute(sa.update(device_rows).values(session_epoch=link.epoch + 1)))
    verdicts: Parameter = [{"call_id": link.calls[0].id, "verdict": "rejected"}]
    assert (await refused(bench, "review.report", verdicts=verdicts)).code == ErrorCode.DEVICE_GONE
    (listed,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
    assert listed.row.verdict == "open"


async def test_device_reports_places_of_own_items_and_repeats_are_idempotent(
    bench: Bench,
) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    (listed,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
    row_id = listed.row.row_id
    place: dict[str, Parameter] = {
        "name": "todo",
        "kind": "markdown",
        "state": "arrived",
        "at_ms": 7,
        "link": "notes/todo.md",
    }
    later: dict[str, Parameter] = place | {
        "state": "pondering",
        "problem": "eclipse",
    }  # words of a newer device
    rows: Parameter = [{"row_id": row_id, "places": [place]}, {"row_id": "unknown", "places": []}]
    foreign = await ask(bench, "places.report", FakeLink("another"), rows=rows)
    assert foreign.result == {"known": 0, "unknown": 2}
    seen: list[list[int]] = []
    for places in ([place], [place], [later], []):
        rows = [{"row_id": row_id, "places": places}, {"row_id": "unknown", "places": []}]
        assert (await ask(bench, "places.report", rows=rows)).result == {"known": 1, "unknown": 1}
        (listed,) = (await bench.store.read(item_lists.list_items, ItemFilter(), limit=9)).items
        changed = await bench.store.read(changes.changes_after, 0)
        seen.append([one.version for one in changed.changes if one.kind == "item"])
        assert [*msgspec.to_builtins(listed.row.places)] == places
    assert seen[0] == seen[1] < seen[2] < seen[3]
    await bench.store.write(lambda c: c.execute(sa.update(device_rows).values(session_epoch=link.epoch + 1)))
    late = await refused(bench, "places.report", rows=[{"row_id": row_id, "places": [place]}])
    assert late.code == ErrorCode.DEVICE_GONE


REFUSED: tuple[tuple[str, Parameters, ErrorCode], ...] = (
    ("messages.forget", {}, ErrorCode.UNKNOWN_METHOD),
    ("no.such.thing", {}, ErrorCode.UNKNOWN_METHOD),
    ("runs.start", {}, ErrorCode.BAD_PARAMS),
    ("runs.start", {"agent_id": 7}, ErrorCode.BAD_PARAMS),
    ("runs.start", {"agent_id": "nobody"}, ErrorCode.UNKNOWN_AGENT),
    ("review.report", {}, ErrorCode.BAD_PARAMS),
    ("review.report", {"verdicts": [{"call_id": "c-1"}]}, ErrorCode.BAD_PARAMS),
    ("review.report", {"verdicts": [{"call_id": "c-1", "verdict": "held"}]}, ErrorCode.BAD_PARAMS),
    ("review.report", {"verdicts": [{}] * 501}, ErrorCode.BAD_PARAMS),
    ("places.report", {}, ErrorCode.BAD_PARAMS),
    ("places.report", {"rows": [{"row_id": "r-1"}]}, ErrorCode.BAD_PARAMS),
    ("places.report", {"rows": [{"row_id": "r-1", "places": [{"name": "todo"}]}]}, ErrorCode.BAD_PARAMS),
    (
        "places.report",
        {"rows": [{"row_id": "r-1", "places": [{"name": "n", "state": "s", "at_ms": 1, "link": "x" * 501}]}]},
        ErrorCode.BAD_PARAMS,
    ),
    ("places.report", {"rows": [{"row_id": "r-1", "places": []}] * 101}, ErrorCode.BAD_PARAMS),
    ("runs.get", {"run_id": "nothing"}, ErrorCode.UNKNOWN_RUN),
)


async def test_invalid_request_is_refused_with_code_message_and_hint(bench: Bench) -> None:
    for method, params, code in REFUSED:
        error = await refused(bench, method, **params)
        assert (error.code, bool(error.message and error.hint)) == (code, True), method


async def test_key_rotation_above_the_rate_is_refused_with_the_retry_time(bench: Bench) -> None:
    old, new, newer = KeyPair(1), KeyPair(2), KeyPair(3)
    link = bench.connect()
    link.credential = f"key:{key_id(old.public)}"
    await bench.store.write(
        keys.add_key,
        id=key_id(old.public),
        device_id=link.device_id,
        public_key=old.public,
        at=epoch_ms(bench.clock.now()),
    )
    for before, after in ((old, new), (new, newer)):
        lines = ("hub-key-rotation-v1", "h-1", link.device_id, before.spelled, after.spelled)
        signed = {"signature": before.sign(*lines), "proof": after.sign(*lines)}
        link.sent.clear()
        response = await ask(bench, "keys.rotate", link, public_key=after.spelled, **signed)
    assert response.error is not None
    assert (response.error.code, response.error.retry_after_ms) == (ErrorCode.RATE_LIMITED, 60_000)


async def test_device_gets_only_listed_methods_and_nothing_of_another_device(bench: Bench) -> None:
    row = await bench.control.submit(bench.agent)
    for method in Method:
        told = await ask(bench, method, FakeLink("another"), agent_id=bench.agent.id, run_id=row.id)
        is_served = told.error is None or told.error.code != ErrorCode.UNKNOWN_METHOD
        assert is_served == (method in DEVICE_REQUESTS), method
        assert row.id not in str(told.result) and bench.agent.name not in str(told.result), method
        assert (await bench.row(row.id)).state is RunState.QUEUED, method


async def test_response_to_a_disconnected_device_is_dropped_and_the_next_is_sent(bench: Bench) -> None:
    gone, there = bench.connect(), FakeLink("another")
    gone.cut()
    requests = make_requests(bench)
    requests.enqueue(request(gone, "q-1"))
    requests.enqueue(request(there, "q-2"))
    async with serving(requests):
        await until(lambda: bool(there.sent))
    assert gone.sent == []


async def test_raising_device_request_is_answered_internal_and_the_next_request_is_served(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_resource, "_SHORT", lambda row: 1 / 0)
    link, requests = bench.connect(), make_requests(bench)
    requests.enqueue(request(link, "q-1"))
    requests.enqueue(request(link, "q-2", "runs.list"))
    async with serving(requests):
        await until(lambda: len(link.sent) == 2)
    assert codes(link) == {"q-1": ErrorCode.INTERNAL, "q-2": None}
    assert [record.message for record in caplog.records] == ["request.failed"]


def codes(link: FakeLink) -> dict[str, str | None]:
    """How each request was answered, in the order of the answers; ``None``: with a result."""
    found: dict[str, str | None] = {}
    for response in link.sent:
        assert isinstance(response, Response)
        found[response.id] = None if response.error is None else response.error.code
    return found


async def test_requests_of_devices_are_answered_in_turns(bench: Bench) -> None:
    eager, patient = bench.connect(), FakeLink("another")
    patient.sent = eager.sent  # so that the order of all answers is seen
    requests = make_requests(bench)
    for number in range(4):
        requests.enqueue(request(eager, f"e-{number}", "runs.start", agent_id="notes"))
    for number in range(2):
        requests.enqueue(request(patient, f"p-{number}"))
    async with serving(requests):
        await until(lambda: len(eager.sent) == 6)
    assert list(codes(eager)) == ["e-0", "p-0", "e-1", "p-1", "e-2", "e-3"]


async def test_waiting_requests_of_a_device_are_limited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "WAITING", 3)
    eager, patient = bench.connect(), FakeLink("another")
    requests = make_requests(bench)
    for number in range(5):
        requests.enqueue(request(eager, f"e-{number}"))
    requests.enqueue(request(patient, "p-1"))
    assert len(requests) == 4
    async with serving(requests):
        await until(lambda: len(eager.sent) == 5 and len(patient.sent) == 1)
    assert codes(eager) == {
        "e-0": None,
        "e-1": None,
        "e-2": None,
        "e-3": ErrorCode.OVERLOADED,
        "e-4": ErrorCode.OVERLOADED,
    }
    assert b'hub_limits_reached_total{limit="waiting_requests"} 2.0' in bench.metrics.render()


async def test_device_request_above_the_rate_is_refused_with_the_retry_time(bench: Bench) -> None:
    eager, patient = bench.connect(), FakeLink("another")
    requests = make_requests(bench)
    requests.apply(Limits(requests_per_s=0.5))  # and two in one go
    async with serving(requests):
        for number in range(3):
            requests.enqueue(request(eager, f"e-{number}"))
        requests.enqueue(request(patient, "p-1"))
        await until(lambda: len(eager.sent) == 3 and len(patient.sent) == 1)
        bench.clock.advance(2.0)
        requests.enqueue(request(eager, "e-3"))
        await until(lambda: len(eager.sent) == 4)
    assert codes(eager) == {"e-0": None, "e-1": None, "e-2": ErrorCode.RATE_LIMITED, "e-3": None}
    assert codes(patient) == {"p-1": None}
    (refused,) = [sent.error for sent in eager.sent if isinstance(sent, Response) and sent.error]
    assert refused.retry_after_ms == 2_000
    assert b'hub_limits_reached_total{limit="requests_per_s"} 1.0' in bench.metrics.render()


async def test_device_request_above_the_rate_is_refused_with_an_empty_queue(
    bench: Bench,
) -> None:
    eager = bench.connect()
    requests = make_requests(bench)
    requests.apply(Limits(requests_per_s=0.25))  # and one in one go
    async with serving(requests):
        requests.enqueue(request(eager, "e-0"))
        await until(lambda: len(eager.sent) == 1)
        requests.enqueue(request(eager, "e-1"))
        await until(lambda: len(eager.sent) == 2)
    assert codes(eager) == {"e-0": None, "e-1": ErrorCode.RATE_LIMITED}


async def test_waiting_refusals_of_a_device_are_limited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "WAITING_REFUSALS", 2)
    monkeypatch.setattr(service, "WAITING", 1)
    eager, patient = bench.connect(), FakeLink("another")
    requests = make_requests(bench)
    for number in range(6):
        requests.enqueue(request(eager, f"e-{number}"))
    requests.enqueue(request(patient, "p-1"))
    async with serving(requests):
        await until(lambda: len(patient.sent) == 1)
    assert list(codes(eager)) == ["e-0", "e-1", "e-2"]
    assert b'hub_limits_reached_total{limit="waiting_requests"} 5.0' in bench.metrics.render()


@each("key", ["k" * 129, "", 7, ["k"]])
async def test_device_run_start_with_an_invalid_idempotency_key_is_refused(
    bench: Bench, key: Parameter
) -> None:
    error = await refused(bench, "runs.start", agent_id="notes", idempotency_key=key)
    assert error.code == ErrorCode.BAD_PARAMS and "idempotency_key" in error.message
    assert await bench.store.read(runs.list_runs) == []


async def test_device_run_beyond_the_waiting_limit_needs_a_known_key(
    bench: Bench,
) -> None:
    bench.control.limits = run_claims.WaitingLimits(waiting_manual_runs=2)
    first = await result(bench, "runs.start", agent_id="notes", idempotency_key="k")
    await result(bench, "runs.start", agent_id="notes", idempotency_key="l")
    error = await refused(bench, "runs.start", agent_id="notes", idempotency_key="m")
    assert error.code == ErrorCode.LIMIT_REACHED and "waiting_manual_runs" in error.message
    assert await result(bench, "runs.start", agent_id="notes", idempotency_key="k") == first
    assert len(await bench.store.read(runs.list_runs)) == 2
    assert b'hub_limits_reached_total{limit="waiting_manual_runs"} 1.0' in bench.metrics.render()


READER: dict[str, Any] = {
    "name": "reader",
    "connector": "work",
    "data_types": ["tasks"],
    "prompt": "Find it.",
}


async def change(bench: Bench, *, add: tuple[Grant, ...] = (), remove: tuple[Grant, ...] = ()) -> None:
    device_id = bench.agent.device_id
    assert device_id is not None
    await bench.store.write(
        devices.change_grants, device_id, add=add, remove=remove, at=1, actor="operator:0"
    )


async def with_mailbox(bench: Bench) -> None:
    """The user has an account that was signed in."""
    await bench.store.write(
        connectors.reconcile_connectors,
        declared=[DeclaredConnector(name="work", user_name="owner", provider="listed", origin="me")],
        at=1,
        fresh_ids=["work-id", "no-user"],
    )


async def test_device_without_the_connectors_grant_cannot_create_a_mailbox_agent(bench: Bench) -> None:
    await with_mailbox(bench)
    why = await refused(bench, "agents.create", **READER)
    assert why.code == ErrorCode.NOT_GRANTED
    assert "'connectors'" in why.message and "hub devices grant desk +connectors" in (why.hint or "")
    assert len(await bench.store.read(agents.list_agents)) == 1

    await change(bench, add=(Grant.CONNECTORS,))
    assert (await result(bench, "agents.create", **READER))["agent"]["name"] == "reader"


async def test_device_without_the_connectors_grant_cannot_update_a_mailbox_agent(
    bench: Bench,
) -> None:
    await with_mailbox(bench)
    await result(bench, "agents.create", **MAIL)
    turned: dict[str, Any] = {"connector": "work", "paths": None}
    assert (await refused(bench, "agents.update", agent_id="mail", **turned)).code == ErrorCode.NOT_GRANTED

    await change(bench, add=(Grant.CONNECTORS,))
    await result(bench, "agents.create", **READER)
    await change(bench, remove=(Grant.CONNECTORS,))
    why = await refused(bench, "agents.update", agent_id="reader", prompt="Copy every mail.")
    assert why.code == ErrorCode.NOT_GRANTED


@each(
    ("grant", "method", "params"),
    [
        (Grant.AGENTS, "agents.create", MAIL),
        (Grant.AGENTS, "runs.start", {"agent_id": "notes"}),
        (Grant.AGENTS, "status.set", {"agent_id": "notes", "set": {"lifecycle": "paused"}}),
        (Grant.AGENTS, "config.set", {"agent_id": "notes", "values": {}}),
        (Grant.COORDINATION, "boards.list", {}),
        (Grant.COORDINATION, "sessions.link", {}),
        (Grant.COORDINATION, "locks.acquire", {"agent_id": "notes", "resources": ["x"]}),
        (Grant.COORDINATION, "memory.add", {}),
        (Grant.COORDINATION, "messages.list", {}),
    ],
)
async def test_request_without_the_required_grant_is_refused_with_the_name_of_the_grant(
    bench: Bench, grant: Grant, method: str, params: dict[str, Any]
) -> None:
    await change(bench, add=tuple(Grant), remove=(grant,))
    why = await refused(bench, method, **params)
    assert (why.code, repr(grant.value) in why.message) == (ErrorCode.NOT_GRANTED, True)


async def test_run_on_a_device_without_the_files_grant_fails_without_a_request(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await change(bench, remove=(Grant.FILES,))
    run = await bench.run()
    assert (run.state, run.outcome) == (RunState.FAILED, RunOutcome.ERROR)
    assert "not granted 'files'" in (run.reason or "")
    assert link.streams == []
    await change(bench, add=(Grant.FILES,))
    assert (await bench.run()).outcome == RunOutcome.SUCCESS


async def test_request_about_the_device_or_the_owner_requires_no_grant(bench: Bench) -> None:
    await change(bench, remove=tuple(Grant))
    assert [one["name"] for one in (await result(bench, "agents.list"))["agents"]] == ["notes"]
    assert (await result(bench, "review.report", verdicts=[]))["known"] == 0
    assert (await result(bench, "runs.list"))["runs"] == []


def test_device_methods_without_a_grant_are_the_listed_ones() -> None:
    """A new method is decided here, and not forgotten."""
    free = {
        *(Method.AGENTS_LIST, Method.AGENTS_GET, Method.STATUS_GET, Method.CONFIG_GET),
        *(Method.CAPABILITIES_LIST, Method.CHECKPOINTS_GET, Method.LOCKS_LIST, Method.LOCKS_RELEASE),
        *(Method.RUNS_LIST, Method.RUNS_GET, Method.RUNS_REPORT),
        *(Method.METRICS_REPORT, Method.METRICS_QUERY),
        *(Method.REVIEW_REPORT, Method.PLACES_REPORT),
        *(Method.QUESTIONS_LIST, Method.QUESTIONS_ANSWER, Method.SIGN_INS_ANSWER),
        *(Method.KEYS_ROTATE, Method.RECEIPTS_LIST, Method.RECEIPTS_GET, Method.PROPOSALS_LIST),
        *(Method.HELD_LIST, Method.HELD_JUDGE),
        *(Method.SUBSCRIBE, Method.UNSUBSCRIBE),
    }
    assert {method for method, need in DEVICE_REQUESTS.items() if need.grant is None} == free
