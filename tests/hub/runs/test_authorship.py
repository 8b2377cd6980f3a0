"""Lines of an owner beside mails of strangers about the same things, in all orders of arrival."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from hub.text.files import MAIL
from protocol.ids import CallId, DeviceId, UserId
from protocol.items import ItemSource
from protocol.lifecycles import RunOutcome
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentComplete, AgentData, AgentManifest, FilePiece, ManifestFile
from storage.agents import declared_agents
from storage.agents.agents import AgentRow, find_agent_by_name
from storage.agents.configs import Mailbox as MailboxConfig
from storage.agents.declared_agents import IDS_PER_AGENT, DeclaredAgent
from storage.devices import users
from storage.runs import calls
from storage.runs.calls import ReportedVerdict
from storage.store import Store, open_store
from tests.support.authorship import Pair, Placed, drawn_pairs, wrong_about
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.postgres import Postgres
from tests.support.presence import appear
from tests.support.runs import BOOT, Bench, KeywordModel, declare_connector

SEED: Final = 20_261_129
COUNT: Final = 56


class Copyist(KeywordModel):
    """Model that finds nothing, and before which rules read prose."""

    is_literal = True


class Device:
    """Device that has the rows of calls, each with the source of its last one."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.calls: dict[str, str] = {}  # the last one by row

    def answer(self, call: ToolCall) -> Answer:
        row_id = str(call.where.get("id", f"row of {call.id}"))
        if call.action is Action.UPDATE and self.states[row_id] != "open":
            return Answer(result={"updated": 0, "proposed": 1})
        self.rows.setdefault(row_id, {}).update(call.data)
        self.sources[row_id] = msgspec.to_builtins(
            call.source or ItemSource(path="?", quote="", start=0, end=0)
        )
        self.states.setdefault(row_id, "open")
        self.calls[row_id] = call.id
        return Answer(result={"id": row_id} if call.action is Action.INSERT else {"updated": 1})

    @property
    def placed(self) -> list[Placed]:
        return [
            Placed(
                data,
                str(source["path"]),
                source.get("warnings", []),
                self.states[row_id],
                source.get("timezone"),
            )
            for row_id, data in self.rows.items()
            for source in [self.sources[row_id]]
        ]


def folder(texts: dict[str, str]) -> list[list[Any]]:
    """Files that a device sends of a folder with notes and saved mails."""
    pieces = [
        FilePiece(path=f"notes/{name}", content=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        for name, text in sorted(texts.items())
    ]
    files = [
        ManifestFile(path=piece.path, size_bytes=len(piece.content), sha256=str(piece.sha256))
        for piece in pieces
    ]
    return [
        [
            AgentManifest(run_id="r", files=files),
            *(AgentData(run_id="r", files=[piece]) for piece in pieces),
            AgentComplete(run_id="r"),
        ]
    ]


class Play:
    """Two phases of a folder, and of a mailbox if mails come there, with verdicts between them."""

    def __init__(self, pairs: Sequence[Pair], *, has_mailbox: bool) -> None:
        self.pairs, self.device, self.has_mailbox = pairs, Device(), has_mailbox
        self.mailbox = Mailbox(page=10)
        self.mailbox.media_type = MAIL

    async def wrong(self, url: str) -> list[str]:
        """Play both phases, each by a hub of its own, and the second one twice; return what is wrong."""
        clock = FakeClock()
        for turn, phase in enumerate((0, 1, 1)):
            async with open_store(url) as store:
                agents = await declare_both(store)
                for agent in agents[:: 1 if phase else -1]:
                    clock.advance(3_600)
                    bench = Bench(
                        store, agent, clock=clock, model=Copyist(), desk=ListDesk(self.mailbox, clock)
                    )
                    bench.connect(runs=folder(self.arrived(phase)), answers=self.device.answer)
                    run = await bench.run()
                    assert run.outcome == RunOutcome.SUCCESS, run
                if turn == 0:
                    await self.judge(store, agents[0].device_id)
        rows = self.device.placed
        return [what for pair in self.pairs for what in wrong_about(pair, rows)]

    def arrived(self, phase: int) -> dict[str, str]:
        """Return the files of a phase; its mails are in the mailbox if there is one."""
        texts = {name: text for pair in self.pairs for name, text in pair.texts(phase).items()}
        for pair in self.pairs if self.has_mailbox else ():
            if texts.pop(pair.mail, None) and f"mid:{pair.name}" not in self.mailbox.texts:
                self.mailbox.add(f"mid:{pair.name}", pair.words)
        return texts

    async def judge(self, store: Store, device_id: DeviceId | None) -> None:
        """Decide about the rows of the first phase."""
        assert device_id is not None
        report = list[ReportedVerdict]()
        for row_id, source in self.device.sources.items():
            name = source["path"].rpartition("/")[2].removeprefix("mid:").partition(".")[0]
            for pair in self.pairs:
                if pair.name == name and pair.verdict is not None:
                    self.device.states[row_id] = pair.verdict
                    report.append(ReportedVerdict(CallId(self.device.calls[row_id]), pair.verdict))
        await store.write(calls.record_verdicts, device_id, report, at=5)


async def declare_both(store: Store) -> list[AgentRow]:
    """Declare an agent that reads notes, and one that reads a mailbox, for the same device."""
    await declare_connector(store)
    user_id = await store.write(users.ensure_user, UserId("u"), "owner", 1)
    about: dict[str, Any] = {"device_name": "desk", "data_types": ("tasks",), "prompt": "Find tasks."}
    declared = [
        DeclaredAgent(name="notes", paths=("notes",), **about),
        DeclaredAgent(name="mail", mailbox=MailboxConfig(connector="work", filter={}), **about),
    ]
    await store.write(
        declared_agents.reconcile_declared,
        user_id=user_id,
        declared=declared,
        at=1,
        fresh_ids=[f"id-{number}" for number in range(IDS_PER_AGENT * len(declared))],
    )
    found = [await store.read(find_agent_by_name, agent.name) for agent in declared]
    rows = [row for row in found if row is not None]
    await store.write(appear, sorted({row.device_id for row in rows if row.device_id}), BOOT)
    return rows


@pytest.mark.parametrize("has_mailbox", [False, True], ids=["saved mails", "mailbox"])
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_lines_of_the_owner_remain_as_written_beside_mails_of_strangers(
    engine: str, tmp_path: Path, postgres: Postgres, *, has_mailbox: bool
) -> None:
    pairs = drawn_pairs(COUNT, SEED)
    with postgres.database() as fresh:
        url = fresh if engine == "postgresql" else f"sqlite:///{tmp_path / 'hub.db'}"
        assert await Play(pairs, has_mailbox=has_mailbox).wrong(url) == []
