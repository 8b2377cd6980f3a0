"""Webhooks of the hub are signed, ordered, repeated with one id, and cost other targets nothing."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook
from starlette.responses import Response, StreamingResponse

from hub.notify.notifier import EVERY_S, _TargetWork
from hub.notify.sending import BadSecret, SendResult, signatures
from tests.hub.notify.bench import KEY, PATIENCE_S, PRIVATE_KEY, opened
from tests.hub.notify.receivers import Got, receiving
from tests.hub.notify.test_plain_targets import delivery


async def test_post_bears_signatures_accepted_by_other_implementations(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, pages="https://hub.example") as bench,
        receiving() as receiver,
    ):
        target = bench.target(f"{receiver.url}/hooks?x=1", secret=f"{KEY}\n{PRIVATE_KEY}")
        async with bench.serving(target):
            await bench.ask("q-1")
            await bench.until(lambda: len(receiver.got) == 1)
        (got,) = receiver.got
    headers = {name: got.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    # The library compares the timestamp with the machine's clock, which is not the test's.
    webhook = Webhook(KEY)
    expected = f"v1,{webhook.sign(headers['webhook-id'], _at(headers), got.body.decode()).partition(',')[2]}"
    first, second = headers["webhook-signature"].split()
    assert first == expected
    kind, signature = second.split(",")
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), got.body))
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    key.verify(base64.b64decode(signature), signed)
    assert kind == "v1a"
    assert (got.path, got.event["type"], got.event["data"]["question_id"]) == (
        "/hooks",
        "question.asked",
        "q-1",
    )
    assert got.event["data"]["link"] == "https://hub.example/questions"
    assert b"colour" not in got.body


def _at(headers: dict[str, str]) -> datetime:
    return datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "plain text", "whsk_" + "A" * 20, "whsec_%%"]
)
def test_non_signing_secret_is_refused(secret: str) -> None:
    with pytest.raises(BadSecret, match="key"):
        signatures(secret, "id", 0, b"")


async def test_failing_webhook_receiver_gets_each_event_again_with_the_same_id(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        receiver.answer = lambda got: 503 if len(receiver.got) % 2 else 200
        async with bench.serving(bench.target(receiver.url)):
            for number in range(5):
                await bench.ask(f"q-{number}")
                await bench.clock.pass_time(2)
            await bench.until(lambda: len(receiver.got) >= 10)
            await bench.clock.pass_time(60)
        assert len(receiver.got) == 10
        assert len({one.headers["webhook-id"] for one in receiver.got}) == 5
        assert {one.state for one in await bench.rows()} == {"delivered"}


async def test_waits_grow_and_a_wait_named_by_the_receiver_is_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        times: list[float] = []

        def answer(got: Got) -> Response:
            times.append(bench.clock.monotonic())
            asked = {"retry-after": "99999999"} if len(times) == 4 else {}
            return Response(status_code=500, headers=asked)

        receiver.answer = answer
        async with bench.serving(bench.target(receiver.url)):
            await bench.ask("q-1")
            await bench.until(lambda: len(times) == 4)
            waits = [after - before for before, after in pairwise(times)]
            assert waits == sorted(waits)
            assert waits[-1] > 8
            row = await bench.target_row()
            assert (row.failures, row.problem) == (4, "status 500")
            assert row.retry_at - bench.clock.now().timestamp() * 1_000 <= 86_400_000


async def test_refused_event_delays_no_other_subject_and_is_given_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        receiver.answer = lambda got: 422 if got.event["data"]["question_id"] == "q-bad" else 200
        async with bench.serving(bench.target(receiver.url)):
            await bench.ask("q-bad", "q-1", "q-2")
            await bench.until(lambda: len(receiver.got) == 10, every_s=120)
            await bench.until(lambda: bench.clock.monotonic() > 10_000, every_s=600)
            states = {one.subject: (one.state, one.attempts, one.answer) for one in await bench.rows()}
        assert states == {
            "question:q-bad": ("failed", 8, "status 422"),
            "question:q-1": ("delivered", 1, "status 200"),
            "question:q-2": ("delivered", 1, "status 200"),
        }
        order = [one.event["data"]["question_id"] for one in receiver.got]
        assert sorted(order[:4]) == ["q-1", "q-2", "q-bad", "q-bad"]


async def test_webhook_target_answering_410_gets_no_event_until_a_successful_test(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        receiver.answer = lambda got: 410
        target = bench.target(receiver.url)
        async with bench.serving(target):
            await bench.ask("q-1")
            await bench.until(lambda: len(receiver.got) == 1)
            await bench.ask("q-2")
            await bench.until(lambda: bench.clock.monotonic() > 1_700, every_s=60)
            assert (len(receiver.got), (await bench.target_row()).left_out) == (1, 1)
            receiver.answer = lambda got: 200
            assert (await bench.notifier.test(target, "t-1")).outcome == "delivered"
            await bench.until(lambda: len(receiver.got) == 4)
        assert receiver.events == ["question.asked", "notify.test", "question.asked", "notify.gap"]
        assert receiver.got[-1].event["data"]["left_out"] == 1


async def test_hanging_webhook_receiver_does_not_delay_other_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.notify.sending.TIMEOUT_S", 0.2)
    async with (
        opened(tmp_path) as bench,
        receiving() as good,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        connections = 0

        async def hang(stream: SocketStream) -> None:
            nonlocal connections
            connections += 1
            async with stream:
                await anyio.sleep_forever()

        tasks.start_soon(listener.serve, hang)
        port = listener.extra(SocketAttribute.local_port)
        targets = bench.target(f"http://127.0.0.1:{port}", name="hung"), bench.target(good.url)
        async with bench.serving(*targets):
            for number in range(20):
                await bench.ask(f"q-{number}")
                await bench.until(lambda number=number: len(good.got) > number)  # type: ignore[misc]
            problem = "127.0.0.1: no answer within 0.2 s: does it run, and is it too slow?"
            with anyio.fail_after(PATIENCE_S):  # all others may have been delivered before
                while True:
                    row = await bench.target_row("hung")
                    if row.problem == problem and row.waiting >= 10:
                        break
                    bench.clock.advance(EVERY_S)
                    await bench.clock.pass_time(0)
        assert connections >= 1
        tasks.cancel_scope.cancel()


async def test_webhook_answer_with_a_long_body_is_judged_by_the_status(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench, receiving() as receiver:
        sender = bench.notifier.sender(bench.target(receiver.url))
        for status, outcome in ((200, "delivered"), (503, "later"), (410, "gone"), (422, "refused")):
            receiver.answer = lambda got, status=status: Response(bytes(5_000_000), status)  # type: ignore[misc]
            assert await sender.send([delivery()]) == SendResult(outcome, f"status {status}")  # type: ignore[arg-type]
        await sender.aclose()


async def test_webhook_answer_with_an_endless_body_is_judged_by_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.notify.sending.BODY_S", 0.1)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await anyio.sleep(0.02)

    async with opened(tmp_path) as bench, receiving() as receiver:
        sender = bench.notifier.sender(bench.target(receiver.url))
        with anyio.fail_after(10):
            for status, outcome in ((200, "delivered"), (503, "later")):
                receiver.answer = lambda got, status=status: StreamingResponse(drip(), status)  # type: ignore[misc]
                assert await sender.send([delivery()]) == SendResult(outcome, f"status {status}")  # type: ignore[arg-type]
        await sender.aclose()


async def test_webhook_failure_names_the_host_and_the_cause_without_exception_class(tmp_path: Path) -> None:
    async def end(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()

    async with (
        opened(tmp_path) as bench,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, end)
        port = listener.extra(SocketAttribute.local_port)
        for url, words in (
            (f"http://127.0.0.1:{port}", "disconnected"),
            (f"https://127.0.0.1:{port}", "127.0.0.1: "),
            ("http://127.0.0.1:1", "nothing accepts connections there"),
        ):
            sender = bench.notifier.sender(bench.target(url))
            answer = await sender.send([delivery()])
            await sender.aclose()
            assert answer.outcome == "later" and answer.text.startswith("127.0.0.1: ")
            assert (
                words in answer.text and len(answer.text) > len("127.0.0.1: ") and "Error" not in answer.text
            )
        tasks.cancel_scope.cancel()


async def test_change_of_a_target_leaves_the_other_targets_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    serve = _TargetWork.serve

    async def counted(service: _TargetWork) -> None:
        begun.append(service._target.name)
        await serve(service)

    monkeypatch.setattr(_TargetWork, "serve", counted)
    async with opened(tmp_path) as bench, receiving() as receiver:
        one, other = bench.target(receiver.url, name="one"), bench.target(receiver.url, name="other")
        async with bench.serving(one, other):
            await bench.ask("q-1")
            await bench.until(lambda: len(receiver.got) == 2)
            changed = bench.target(receiver.url, name="other", titles=True)
            bench.notifier.apply([one, changed])
            await bench.until(lambda: len(begun) == 3)
            bench.notifier.apply([changed])
            await bench.ask("q-2")
            await bench.until(lambda: len(receiver.got) == 3)
            bench.notifier.apply([one, changed])
            await bench.until(lambda: len(begun) == 4)
            await bench.until(lambda: len(receiver.got) >= 4)
            assert begun == ["one", "other", "other", "one"]
