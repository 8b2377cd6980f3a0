"""Hub and receiver are killed while events are delivered: none is lost, and each subject keeps its order."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from hub.base.clock import SystemClock, now_ms
from storage.schema import agents, items, runs
from tests.hub.notify.bench import KEY
from tests.support.killing import Victim
from tests.support.processes import POLL_S, SETTINGS, HubProcess, closing
from tests.support.programs import free_port

RUNS = 100  # each with two events
AT_ONCE = 10
NOTIFY = """
[[notify]]
name = "ops"
kind = "webhook"
url = "http://127.0.0.1:{port}/hook"
secret = {{ file = "ops.secret" }}
events = ["run.completed", "items.waiting"]
"""


class Receiver(Victim):
    """A receiver in a process, which may be killed."""

    def __init__(self, folder: Path) -> None:
        self.port, self._file = free_port(), folder / "received.jsonl"
        words = [sys.executable, "-m", "tests.hub.notify.receiver_process"]
        super().__init__([*words, str(self.port), str(self._file), KEY])

    @property
    def received(self) -> list[tuple[str, str, str]]:
        text = self._file.read_text() if self._file.exists() else ""
        return [tuple(json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def end_runs(file: Path, first: int) -> None:
    """Write ended runs, each with an item that waits."""
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)
    at = now_ms(SystemClock())
    with engine.begin() as c:
        agent = c.execute(sa.select(agents)).mappings().one()
        texts = ("unit_key", "likeness", "quote_hash", "place_hash", "config_fingerprint", "call_id")
        for number in range(first, first + AT_ONCE):
            run = {"id": f"run-{number}", "agent_id": agent["id"], "trigger_kind": "manual"}
            run |= {
                "fire_key": f"{number}",
                "fire_at": at,
                "eligible_at": at,
                "config_rev": 1,
                "config_fingerprint": "f",
            }
            ended = {
                "fence": 1,
                "started_at": at,
                "state": "COMPLETED",
                "outcome": "success",
                "created_at": at,
                "updated_at": at,
                "completed_at": at,
            }
            c.execute(sa.insert(runs), run | ended)
            item = dict.fromkeys(texts, "x") | {"id": f"item-{number}", "run_id": run["id"]}
            item |= {"user_id": agent["user_id"], "agent_id": agent["id"], "target_table": "tasks"}
            c.execute(sa.insert(items), item | {"created_at": at, "updated_at": at})


async def until(is_done: Callable[[], bool]) -> None:
    with anyio.fail_after(90):
        while not is_done():  # noqa: ASYNC110 - another process does it
            await anyio.sleep(POLL_S)


@pytest.mark.soak
async def test_events_of_killed_hub_and_receiver_are_all_delivered_in_order_with_stable_ids(
    tmp_path: Path,
) -> None:
    receiver = Receiver(tmp_path)
    with receiver:
        await check(receiver, tmp_path)


async def check(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "ops.secret").write_text(KEY)
    (tmp_path / "ops.secret").chmod(0o600)
    hub = HubProcess(tmp_path, settings=SETTINGS.format(model="") + NOTIFY.format(port=receiver.port))
    async with closing(hub):
        await hub.start()
        for first in range(0, RUNS, AT_ONCE):
            before = len(receiver.received)
            end_runs(tmp_path / "hub.db", first)
            await until(lambda before=before: len(receiver.received) > before + 3)  # type: ignore[misc]
            if first // AT_ONCE % 2:
                await hub.kill()
                await hub.start()
            else:
                receiver.restart()
        await until(lambda: len({id for id, *_ in receiver.received}) == 2 * RUNS)
        received = receiver.received
    ids, orders = defaultdict(set), defaultdict(list)
    for id, event, run in received:
        ids[event, run].add(id)
        orders[run].append(event)
    assert len(ids) == 2 * RUNS
    assert {len(of) for of in ids.values()} == {1}
    for events in orders.values():  # repeats follow each other
        assert [one for one, after in pairwise([*events, ""]) if one != after] == [
            "run.completed",
            "items.waiting",
        ]
