"""Souls at a gateway: written over what was read and over nothing else, whatever breaks in between."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from protocol.coordination import SoulWriteState
from protocol.errors import CodedError, ErrorCode
from storage import audit
from storage.coordination import souls
from storage.coordination.souls import SoulBusy
from tests.hub.coordination.souls import AS_IT_WAS, WORKER, SoulBench, open_souls
from tests.support.coded import coded
from tests.support.families import each
from tests.support.gateway import DEFAULT_SOUL, FakeGateway
from tests.support.wire import until

GETS, SETS = "agents.files.get", "agents.files.set"


@pytest.fixture
async def bench(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[SoulBench]:
    async with open_souls(tmp_path, gateway) as opened:
        yield opened


def there(gateway: FakeGateway) -> str:
    """The soul as the gateway has it."""
    return gateway.agents["worker"].files["SOUL.md"]


async def test_soul_write_with_the_read_hash_is_done_recorded_and_notified(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    write = await bench.put("# Kind\n", AS_IT_WAS, reason="be kind")

    assert write.state is SoulWriteState.DONE
    assert (there(gateway), gateway.count(SETS), write.sends) == ("# Kind", 1, 1)
    assert gateway.asked[-1].params["expectedHash"] == AS_IT_WAS
    assert gateway.asked[-1].traceparent is not None and write.trace_id in gateway.asked[-1].traceparent
    assert await bench.history() == [
        ("seen", DEFAULT_SOUL, "gateway:west"),
        ("written", "# Kind", "operator:1000"),
    ]
    (told,) = await bench.store.read(audit.list_activity, agent_id=WORKER)
    entries = await bench.store.read(audit.list_entries, limit=1, event="soul.updated")
    assert (told.event_type, told.message) == (
        "agent.soul.updated",
        "SOUL.md updated for worker. Reason: be kind",
    )
    assert [(entry.actor, entry.subject, entry.outcome) for entry in entries] == [
        ("operator:1000", WORKER, "done")
    ]


async def test_soul_write_without_a_hash_expects_the_current_content(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    gateway.agents["worker"].files["SOUL.md"] = "theirs"

    write = await bench.put("ours")

    assert (write.state, write.expected_sha256) == (SoulWriteState.DONE, souls.digest("theirs"))
    assert gateway.asked[-1].params["expectedHash"] == souls.digest("theirs")
    assert [kind for kind, *_ in await bench.history()] == ["seen", "written"]


async def test_soul_is_created_where_none_exists(bench: SoulBench, gateway: FakeGateway) -> None:
    del gateway.agents["worker"].files["SOUL.md"]
    assert await bench.read() is None

    write = await bench.put("first words", "")

    assert (write.state, there(gateway)) == (SoulWriteState.DONE, "first words")


async def test_a_write_over_an_older_version_returns_both_hashes_and_loses_no_text(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    gateway.agents["worker"].files["SOUL.md"] = "theirs"

    with pytest.raises(CodedError, check=coded(ErrorCode.SOUL_CONFLICT)) as refused:
        await bench.put("ours", AS_IT_WAS)

    members = refused.value.members
    assert (members["expected_sha256"], members["found_sha256"]) == (AS_IT_WAS, souls.digest("theirs"))
    assert (there(gateway), gateway.count(SETS)) == ("theirs", 0)
    assert await bench.history() == [
        ("seen", "theirs", "gateway:west"),
        ("refused", "ours", "operator:1000"),
    ]


async def test_soul_write_overtaken_by_another_author_conflicts_with_the_found_hash(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    details = {"type": "agent_file_conflict", "name": "SOUL.md", "currentHash": souls.digest("theirs")}
    gateway.fault(SETS, "refused", {"code": "INVALID_REQUEST", "message": "changed", "details": details})

    async def overtake() -> None:
        while not gateway.count(SETS):
            await anyio.lowlevel.checkpoint()
        gateway.agents["worker"].files["SOUL.md"] = "theirs"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overtake)
        with pytest.raises(CodedError, check=coded(ErrorCode.SOUL_CONFLICT)) as refused:
            await bench.put("ours", AS_IT_WAS)

    assert refused.value.members["found_sha256"] == souls.digest("theirs")


async def test_repeated_soul_write_of_the_same_text_sends_nothing(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    await bench.put("ours", AS_IT_WAS)

    again = await bench.put("ours", AS_IT_WAS)  # its answer was lost on the way to whoever asked

    assert (again.state, again.sends, gateway.count(SETS)) == (SoulWriteState.DONE, 0, 1)
    assert [kind for kind, *_ in await bench.history()] == ["seen", "written"]


@pytest.mark.parametrize("is_done", [False, True])
async def test_soul_write_interrupted_by_a_gateway_restart_is_done_once(
    bench: SoulBench, gateway: FakeGateway, is_done: bool
) -> None:
    gateway.fault(SETS, "never" if is_done else "before")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.put, "ours", AS_IT_WAS)
        await until(lambda: gateway.count(SETS) > 0)
        await gateway.stop(killed=True)
        await until(lambda: bench.fleet.get("west").health().state != "ready")
        await gateway.start()

    assert there(gateway) == "ours"
    assert [kind for kind, *_ in await bench.history()] == ["seen", "written"]
    assert gateway.count(SETS) == (1 if is_done else 2)


@pytest.mark.parametrize("when", ["never", "before"])
async def test_soul_write_interrupted_by_a_hub_kill_is_completed(
    bench: SoulBench, gateway: FakeGateway, when: str
) -> None:
    gateway.fault(SETS, "never" if when == "never" else "before")
    waiting = await bench.put("ours", AS_IT_WAS, wait_s=0)
    assert waiting.state is SoulWriteState.WAITING
    await until(lambda: gateway.count(SETS) > 0)
    await bench.kill()

    bench.start()
    write = await bench.writer.settled_or(waiting.id, 120)

    assert (write.state, there(gateway)) == (SoulWriteState.DONE, "ours")
    assert gateway.count(SETS) == (1 if when == "never" else 2)
    assert [kind for kind, *_ in await bench.history()] == ["seen", "written"]


async def test_soul_changed_by_another_author_during_hub_downtime_is_not_overwritten(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    gateway.fault(SETS, "never")
    waiting = await bench.put("ours", AS_IT_WAS, wait_s=0)
    await until(lambda: gateway.count(SETS) > 0)
    await bench.kill()
    gateway.agents["worker"].files["SOUL.md"] = "theirs"

    bench.start()
    write = await bench.writer.settled_or(waiting.id, 120)

    assert (write.state, write.found_sha256) == (SoulWriteState.CONFLICT, souls.digest("theirs"))
    assert there(gateway) == "theirs"
    assert ("refused", "ours", "operator:1000") in await bench.history()


async def test_soul_write_waits_until_the_gateway_is_back(bench: SoulBench, gateway: FakeGateway) -> None:
    await gateway.stop()

    waiting = await bench.put("ours", AS_IT_WAS, wait_s=10)
    assert (waiting.state, waiting.reason_code) == (SoulWriteState.WAITING, ErrorCode.GATEWAY_UNREACHABLE)

    await gateway.start()
    write = await bench.writer.settled_or(waiting.id, 120)
    assert (write.state, there(gateway)) == (SoulWriteState.DONE, "ours")


async def test_different_soul_write_is_refused_as_busy_while_a_write_waits(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    await gateway.stop()
    waiting = await bench.put("ours", AS_IT_WAS, wait_s=0)

    with pytest.raises(SoulBusy) as busy:
        await bench.put("others'", AS_IT_WAS, wait_s=2)
    again = await bench.put("ours", AS_IT_WAS, wait_s=0)

    assert (busy.value.members, again.id) == ({"write_id": waiting.id}, waiting.id)


async def test_soul_write_refused_by_the_gateway_for_good_is_not_retried(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    del gateway.agents["worker"]

    with pytest.raises(CodedError, match="not found") as refused:
        await bench.put("ours")

    assert refused.value.code is ErrorCode.GATEWAY_REFUSED
    assert gateway.count(GETS) == 1


async def test_soul_is_read_again_after_a_refusal_of_unknown_effect(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    gateway.fault(SETS, "refused", {"code": "UNAVAILABLE", "message": "Error: half of it"})

    with pytest.raises(CodedError) as refused:
        await bench.put("ours")

    assert refused.value.code is ErrorCode.GATEWAY_REFUSED
    assert (gateway.count(GETS), gateway.count(SETS)) == (2, 1)


async def test_soul_with_a_hash_unequal_to_the_content_is_refused(
    bench: SoulBench, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = gateway.agents["worker"]
    lying = worker.file("SOUL.md") | {"hash": "0" * 64}
    monkeypatch.setattr(worker, "file", lambda _: lying)

    with pytest.raises(CodedError, match="another hash than its content") as refused:
        await bench.put("ours")

    assert refused.value.code is ErrorCode.GATEWAY_INVALID
    assert gateway.count(SETS) == 0


async def test_soul_of_a_mebibyte_by_another_author_is_read_and_stored(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    long = "ä" * (512 * 1024)
    gateway.agents["worker"].files["SOUL.md"] = long

    assert await bench.read() == long
    assert [version.size_bytes for version in await bench.versions()] == [1024 * 1024]


@each("content", ["", " \n\t ", "a\0b", "bell \a", "half \ud800"])
async def test_soul_with_invalid_text_is_not_written(
    bench: SoulBench, gateway: FakeGateway, content: str
) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)):
        await bench.put(content)

    assert (there(gateway), await bench.versions()) == (DEFAULT_SOUL, [])


async def test_soul_over_the_length_limit_is_not_written(bench: SoulBench) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.TOO_LARGE), match="soul_bytes"):
        await bench.put("x" * (256 * 1024 + 1))


async def test_write_undeliverable_for_a_day_is_given_up(
    bench: SoulBench, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.stop()
    waiting = await bench.put("ours", AS_IT_WAS, wait_s=5)
    monkeypatch.setattr("hub.coordination.souls.GIVE_UP_MS", 0)

    bench.writer.recheck()
    write = await bench.writer.settled_or(waiting.id, 120)

    assert (write.state, write.reason_code) == (SoulWriteState.FAILED, ErrorCode.GATEWAY_UNREACHABLE)
    assert "given up after a day" in str(write.problem)
    assert await bench.store.read(souls.find_open, WORKER) is None


async def test_a_write_whose_agent_was_removed_fails_and_ends_the_waiting(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    await gateway.stop()
    waiting = await bench.put("ours", AS_IT_WAS, wait_s=0)
    await bench.store.write(
        lambda c: c.exec_driver_sql("UPDATE agents SET deleted_at = 1 WHERE name = 'worker'")
    )

    bench.writer.recheck()
    write = await bench.writer.settled_or(waiting.id, 120)

    assert (write.state, write.reason_code) == (SoulWriteState.FAILED, ErrorCode.UNKNOWN_AGENT)


async def test_concurrent_soul_writes_have_a_single_winner_and_the_loser_gets_both_hashes(
    bench: SoulBench, gateway: FakeGateway
) -> None:
    for number in range(4):
        assert await bench.contend(number, souls.digest(there(gateway))) == there(gateway)


async def test_concurrent_soul_writes_of_two_hubs_have_a_single_winner_and_record_the_loser(
    bench: SoulBench, gateway: FakeGateway, tmp_path: Path
) -> None:
    async with open_souls(tmp_path, gateway) as second:
        for number in range(3):
            before = there(gateway)
            base, won, lost = souls.digest(before), dict[str, SoulBench](), dict[str, CodedError]()

            async def write(
                hub: SoulBench, text: str, base: str, won: dict[str, SoulBench], lost: dict[str, CodedError]
            ) -> None:
                try:
                    await hub.put(text, base)
                    won[text] = hub
                except CodedError as overtaken:
                    lost[text] = overtaken

            async with anyio.create_task_group() as tasks:
                for hub, text in ((bench, f"left {number}"), (second, f"right {number}")):
                    tasks.start_soon(write, hub, text, base, won, lost)

            ((winner, winners),) = won.items()
            ((loser, conflict),) = lost.items()
            assert there(gateway) == winner
            assert (conflict.members["expected_sha256"], conflict.members["found_sha256"]) == (
                base,
                souls.digest(winner),
            )
            losers = second if winners is bench else bench
            assert [told[:2] for told in await winners.history(last=1)] == [("written", winner)]
            assert [told[:2] for told in await losers.history(last=2)] == [
                ("seen", winner),
                ("refused", loser),
            ]
