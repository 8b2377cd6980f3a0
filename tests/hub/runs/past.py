"""A hub and a device, each over a database file of its own that can be put back to an earlier state."""

import copy
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio

from hub.base.clock import IdFactory
from hub.device.device_file import DeviceStore, open_device_store
from hub.device.items import read_items
from hub.extraction.model import Finish, ModelAnswer, ModelRequest
from hub.runs.agreement import Agreements
from protocol.handshake import Welcome
from protocol.ids import CallId, UserId
from protocol.tool_calls import Answer, ToolCall
from protocol.work import AgentComplete, AgentData, AgentManifest, FilePiece, ManifestFile
from storage.agents import agents, declared_agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import devices, users
from storage.runs import agreement, calls
from storage.runs.agreement import StoreRow
from storage.runs.calls import ReportedVerdict
from storage.store import Connection, open_store
from tests.support.clock import START, FakeClock, SeededChance
from tests.support.database import new_database
from tests.support.link import FakeLink
from tests.support.runs import MODERN, Bench, KeywordModel
from tests.support.wire import until

CAN = (*MODERN, "rows.list", "rows.known")
_SENTENCE = re.compile(r"We must .+?\.")

HOUR = timedelta(hours=1)

Item = tuple[str, str]  # path and quote


class RewordingModel(KeywordModel):
    """Finds each sentence of a duty, and calls it something else each time it is asked."""

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        words = hashlib.sha256(str(self.asked).encode()).hexdigest()
        found = [
            {"table": "tasks", "title": f"{words[:12]} {words[12 + number :]}", "quote": quote}
            for number, quote in enumerate(_SENTENCE.findall(request.messages[-1].content))
        ]
        self.asked += 1
        return ModelAnswer(text=json.dumps({"items": found}), finish=Finish.WHOLE, usage=self.usage)


class Past:
    """The world of one test. *files* is what the device shares.

    Attributes:
        asked: calls of the hub, of all connections.
        on_call: called before a call reaches the device; an answer that it returns is the device's, and an
            error that it raises ends the connection.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub_file = folder / "hub.db"
        self.device_file = folder / "desk.db"
        self.files: dict[str, str] = {}
        self.asked: list[ToolCall] = []
        self.on_call: Callable[[ToolCall], Answer | None] = lambda call: None
        self.model = RewordingModel()
        self.starts = 0
        self.lives = 0  # of hubs that began without a database
        self.epoch = 0
        self._chance = SeededChance()

    def moved_to(self, folder: Path) -> "Past":
        """Return a copy of this world in another folder; no program has a file of it open."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        moved = copy.deepcopy(self)
        moved.folder = folder
        moved.hub_file, moved.device_file = folder / self.hub_file.name, folder / self.device_file.name
        return moved

    # --- older states ---

    def keep(self, moment: str) -> None:
        """Copy both files, which nobody has open."""
        for file in (self.hub_file, self.device_file):
            shutil.copy(file, f"{file} {moment}")

    def put_back(self, file: Path, moment: str | None) -> None:
        """Put a copy back; ``None``: the file is lost."""
        for old in self.folder.glob(f"{file.name}-*"):
            old.unlink()
        file.unlink()
        if moment is not None:
            shutil.copy(f"{file} {moment}", file)

    # --- hub and device ---

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[Bench]:
        """A hub that runs; one that finds no database makes its agent anew."""
        if not self.hub_file.exists():
            self.lives += 1
            new_database(self.hub_file)
        async with open_store(f"sqlite:///{self.hub_file}") as store:
            user_id = await store.write(users.ensure_user, UserId(f"u-{self.lives}"), "owner", 1)
            declared = DeclaredAgent(
                name="notes",
                device_name="desk",
                paths=("notes",),
                data_types=("tasks",),
                prompt="Find tasks.",
            )
            fresh = [f"{letter}-{self.lives}" for letter in "abcd"]
            await store.write(
                declared_agents.reconcile_declared,
                user_id=user_id,
                declared=[declared],
                at=1,
                fresh_ids=fresh,
            )
            agent = await store.read(agents.find_agent_by_name, "notes")
            assert agent is not None
            self.starts += 1
            yield Bench(store, agent, model=self.model, clock=FakeClock(START + self.starts * HOUR))

    @contextmanager
    def device(self) -> Iterator[DeviceStore]:
        """The device's file, open."""
        clock = FakeClock()
        with open_device_store(self.device_file, clock=clock, ids=IdFactory(clock, self._chance)) as store:
            yield store

    async def connect(self, bench: Bench, device: DeviceStore) -> FakeLink:
        """Let the device in as the hub's listener does; the two have not agreed yet."""
        assert bench.agent.device_id is not None
        device_id = bench.agent.device_id
        self.epoch += 1

        def answer(call: ToolCall) -> Answer:
            refusal = self.on_call(call)
            self.asked.append(call)
            return refusal or device.apply([call])[0]

        link = bench.connect(
            runs=_run_over(self.files), answers=answer, capabilities=CAN, epoch=self.epoch, user_id="u"
        )
        link.user_id = (await bench.store.read(devices.get_device, device_id)).user_id
        known = await bench.store.read(agreement.find_store, device_id)
        await bench.store.write(agreement.greet, device_id, device.mark, bench.now_ms)
        device.note_welcome(
            Welcome(
                protocol=1,
                hub_id=f"hub {self.lives}",
                connection_id="c",
                user_id=link.user_id,
                device_id=device_id,
                epoch=self.epoch,
                server_ts_ms=1,
                store=None if known is None else agreement.mark_of(known),
            )
        )
        return link

    @asynccontextmanager
    async def agreeing(self, bench: Bench) -> AsyncIterator[Agreements]:
        """The service that makes hub and device agree."""
        service = Agreements(
            bench.store,
            clock=bench.clock,
            ids=bench.ids,
            on_agreed=lambda link: None,
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(service.serve)
            for link in bench.links.values():
                service.device_ready(link)
            try:
                yield service
            finally:
                tasks.cancel_scope.cancel()

    async def agree(self, bench: Bench, link: FakeLink) -> None:
        """Until hub and device agree."""
        async with self.agreeing(bench) as service:
            await until(lambda: service.agrees(link))

    async def visit(self, *, runs: int = 1) -> int:
        """Both start, agree, and run; returns how many rows these runs made."""
        made = 0
        async with self.hub() as bench:
            with self.device() as device:
                for number in range(max(runs, 1)):
                    link = await self.connect(bench, device)
                    await self.agree(bench, link)
                    if number < runs:
                        made += (await bench.run()).items_created
        return made

    async def report(self) -> None:
        """The device tells its hub what its owner said."""
        async with self.hub() as bench:
            with self.device() as device:
                await self.connect(bench, device)
                assert bench.agent.device_id is not None
                told = device.unreported(100)
                said = [ReportedVerdict(CallId(one.call_id), one.verdict) for one in told]
                await bench.store.write(calls.record_verdicts, bench.agent.device_id, said, bench.now_ms)
                device.note_reported(told)

    def items(self) -> Counter[Item]:
        """What the device has, by path and quote."""
        found = read_items(self.device_file)
        return Counter((item.source_path or "", item.quote or "") for item in found)


def store_of_device(c: Connection) -> StoreRow:
    """Return the state of the store of the only device."""
    (device,) = devices.list_devices(c)
    known = agreement.find_store(c, device.id)
    assert known is not None
    return known


def _run_over(files: dict[str, str]) -> list[list[object]]:
    pieces = [
        FilePiece(path=path, content=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        for path, text in sorted(files.items())
    ]
    listed = [
        ManifestFile(path=one.path, size_bytes=len(one.content), sha256=one.sha256 or "") for one in pieces
    ]
    data = [AgentData(run_id="r", files=[piece]) for piece in pieces]
    return [[AgentManifest(run_id="r", files=listed), *data, AgentComplete(run_id="r")]]
