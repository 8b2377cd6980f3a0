"""Rounds of a hub and a gateway between which everything breaks: nothing is lost, nothing is said twice.

In each round something is said, in the middle of which the wire is cut at some frame, an answer never
comes, or either side ends (in good order or killed) and is started again. Then everything is well
again, and the laws are asked of what the gateway's agents have heard.

    python -m tests.scenarios.coordination_rounds --rounds 200 --seed 1
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from hub.base.clock import IdFactory, epoch_ms
from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.coordination.board_access import Caller
from hub.coordination.broadcasts import BroadcastService
from hub.coordination.message_delivery import MessageDeliveryService
from hub.coordination.messages import LeadService, MessageService, ToLead
from hub.coordination.provisioning import Provisioning
from hub.coordination.questions import QuestionDraft, QuestionService
from hub.coordination.souls import SoulHomes, SoulRequest, SoulService, SoulWriter
from hub.openclaw import Fleet, GatewayConfig
from protocol.agent_messages import MESSAGE, MessageKind, MessageState
from protocol.ids import AgentId, BoardId, BootId
from storage.coordination import board_memory, boards, gateway_agents, message_rows, questions, souls
from storage.coordination.board_memory import MemoryFilter
from storage.coordination.boards import BoardRow
from storage.coordination.gateway_agents import GatewayAgentRow
from storage.coordination.message_rows import MessageRow
from storage.store import Store, open_store
from tests.hub.coordination.post import LEADS, WORKERS, Links, say
from tests.hub.coordination.souls import BOARD, GATEWAY, LEAD, OWNER, WORKER, FastClock, declare
from tests.support.clock import SeededChance
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.gateway.wire import gateway_wire

PATIENCE_S: Final = 30.0  # on the wall, for one round to come to its end
OPERATOR: Final = Caller("operator:1000", OWNER)
SESSIONS: Final = {WORKER: WORKERS, LEAD: LEADS}
MAIN: Final = "agent:main:main"
ANSWERED: Final = (MessageKind.NUDGE, MessageKind.QUESTION, MessageKind.HANDOFF)


class Broken(AssertionError):
    """A law was broken; *what* says which, and in which round."""


@dataclass
class Stage:
    """A gateway, a wire to it, and a hub that is killed and started again."""

    store: Store
    gateway: FakeGateway
    wire: Any
    tasks: TaskGroup
    folder: Path
    clock: FastClock = field(default_factory=FastClock)
    boots: int = 0

    def __post_init__(self) -> None:
        self.ids = IdFactory(self.clock, SeededChance(17))
        self._life = anyio.CancelScope()
        self._gone = anyio.Event()

    async def boot(self) -> None:
        """Start a hub on the database that the last one left."""
        self.boots += 1
        given: dict[str, Any] = {"clock": self.clock, "metrics": Metrics()}
        chance = SeededChance(1_000 + self.boots)
        fleet = Fleet(folder=self.folder, rules=OutboundRules, chance=chance, version="test", **given)
        fleet.apply([GatewayConfig(name="west", url=self.wire.url, token=self.gateway.token)])
        self.asked = QuestionService(self.store, ids=self.ids, **given)
        self.asked.listen(lambda _: self.courier.kick())
        homes = SoulHomes(fleet.find, lambda _: None, self.ids)
        writer = SoulWriter(store=self.store, homes=homes, ids=self.ids, **given)
        self.souls = SoulService(
            store=self.store,
            homes=homes,
            writer=writer,
            ids=self.ids,
            **given,
        )
        fleet.listen(writer.on_news)
        about: dict[str, Any] = {"ids": self.ids, **given}
        self.making = Provisioning(
            self.store, fleet=fleet, boot_id=BootId(f"boot-{self.boots}"), ids=self.ids, **given
        )
        self.leads = LeadService(self.store, self.making, **about)
        self.courier = MessageDeliveryService(
            self.store,
            fleet=fleet,
            links=Links(),
            chance=chance,
            boot_id=BootId(f"boot-{self.boots}"),
            on_text=self.asked.accept_text,
            ensure_lead=self.leads.ensure,
            **about,
        )
        sent = MessageService(self.store, self.courier, **about)
        self.broadcasts = BroadcastService(self.store, sent, self.courier, owner_id=OWNER, **about)
        self._life, self._gone = anyio.CancelScope(), anyio.Event()
        services = (
            fleet.serve,
            self.making.serve,
            self.courier.serve,
            self.broadcasts.serve,
            writer.serve,
        )
        await self.tasks.start(self._live, services, self._life, self._gone)

    async def _live(
        self,
        services: Sequence[Callable[[], Coroutine[Any, Any, None]]],
        life: anyio.CancelScope,
        gone: anyio.Event,
        *,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        with life:
            async with anyio.create_task_group() as running:
                for serve in services:
                    running.start_soon(serve)
                task_status.started()
        gone.set()

    async def kill(self) -> None:
        """The hub is gone in the middle of whatever it did; its database stays."""
        self._life.cancel()
        await self._gone.wait()

    async def get(self, row: MessageRow) -> MessageRow:
        return await self.store.read(message_rows.get_message, row.id)


# --- what is said ---


@dataclass
class Said:
    """What a round has said, and how it is known that it has come to its end."""

    rows: list[MessageRow] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)  # by message
    souls: list[tuple[AgentId, str]] = field(default_factory=list)
    boards: list[BoardRow] = field(default_factory=list)
    broadcast: str | None = None
    question: str | None = None


Verb = Callable[["Round"], Awaitable[None]]


@dataclass
class Round:
    """One round: what it draws, and what it has said."""

    stage: Stage
    number: int
    chance: SeededChance
    said: Said = field(default_factory=Said)

    def draw(self, most: int) -> int:
        """A number below *most*."""
        return min(most - 1, int(self.chance.uniform(0, most)))

    async def say(
        self, to: AgentId | None, kind: MessageKind, *, times: int = 1, **how: str | bool | None
    ) -> None:
        stage = self.stage
        for _ in range(times):
            token = f"token-{self.number}-{len(self.said.rows)}."
            about: dict[str, Any] = {"to": to, "kind": kind, **how}
            row = await say(stage.store, stage.clock, stage.ids, f"{kind} {token}", **about)
            self.said.rows.append(row)
            self.said.tokens[row.id] = token
            stage.courier.kick()


async def a_nudge_to_a_busy_agent(round: Round) -> None:
    stage = round.stage
    stage.gateway.hold(WORKERS)
    await round.say(WORKER, MessageKind.NUDGE)
    await round.say(WORKER, MessageKind.NUDGE, queue_mode=(None, "followup")[round.draw(2)])

    async def release() -> None:
        await anyio.sleep(round.chance.uniform(0.02, 0.2))
        stage.gateway.release(WORKERS)

    stage.tasks.start_soon(release)


async def a_question_to_the_user(round: Round) -> None:
    asked = QuestionDraft(content=f"which colour? token-{round.number}-q.")
    round.said.question = (await round.stage.asked.ask(Caller.of_agent(LEAD, OWNER), BOARD, asked)).id


async def new_boards(round: Round, count: int) -> None:
    """Boards of the gateway that nobody leads yet."""
    stage = round.stage
    for n in range(count):
        id, name = BoardId(f"board-{round.number}-{n}"), f"board {round.number} {n}"
        given: dict[str, Any] = {"user_id": OWNER, "gateway_id": GATEWAY, "actor": "test"}
        at = epoch_ms(stage.clock.now())
        round.said.boards.append(
            await stage.store.write(boards.create_board, id=id, name=name, at=at, **given)
        )


async def a_broadcast(round: Round) -> None:
    await new_boards(round, 3)
    said = ToLead(kind=MessageKind.QUESTION, content=f"how is it? token-{round.number}-b.")
    names = [board.id for board in round.said.boards]
    round.said.broadcast = (await round.stage.broadcasts.send(OPERATOR, said, names, wait_s=0.0)).row.id


async def a_lead(round: Round) -> None:
    await new_boards(round, 1)
    await round.stage.leads.see_to(OPERATOR, round.said.boards[0].id, wait_s=0.0)


async def a_soul(round: Round) -> None:
    content = f"# Soul of round {round.number}\n"
    round.said.souls.append((WORKER, content.strip()))
    await round.stage.souls.write(OPERATOR, BOARD, WORKER, SoulRequest(content=content), wait_s=0.0)


VERBS: Final[Mapping[str, Verb]] = {
    "a nudge": lambda round: round.say(WORKER, MessageKind.NUDGE),
    "a nudge to a busy agent": a_nudge_to_a_busy_agent,
    "a question": lambda round: round.say(LEAD, MessageKind.QUESTION),
    "a handoff to the lead": lambda round: round.say(None, MessageKind.HANDOFF, to_lead=True),
    "a question to the user": a_question_to_the_user,
    "a burst": lambda round: round.say(WORKER, MessageKind.NUDGE, times=4),
    "a soul": a_soul,
    "a broadcast": a_broadcast,
    "a lead": a_lead,
}


# --- what breaks ---


def cut_the_wire(round: Round, *ways: str) -> None:
    """Let the wire break before a frame that is drawn."""
    for way in ways or ("to_gateway", "to_hub"):
        round.stage.wire.cut_before(way, round.draw(6 if way == "to_gateway" else 16))


def lose_an_answer(round: Round) -> None:
    method = ("chat.send", "chat.history", "agent.wait", "agents.files.set")[round.draw(4)]
    round.stage.gateway.fault(method, ("before", "after", "never")[round.draw(3)])


async def the_gateway(round: Round) -> None:
    gateway = round.stage.gateway
    await gateway.stop(killed=round.draw(2) == 1)
    await anyio.sleep(round.chance.uniform(0.0, 0.15))
    await gateway.start()


async def the_hub(round: Round) -> None:
    await round.stage.kill()
    await anyio.sleep(round.chance.uniform(0.0, 0.1))
    await round.stage.boot()


async def both(round: Round) -> None:
    await round.stage.kill()
    await the_gateway(round)
    await round.stage.boot()


async def the_hub_and_its_wire(round: Round) -> None:
    cut_the_wire(round)
    await anyio.sleep(round.chance.uniform(0.0, 0.05))
    await the_hub(round)


# What is laid before something is said, and what happens in the middle of it.
LAID: Final[Mapping[str, Callable[[Round], None]]] = {
    "the wire to the gateway": lambda round: cut_the_wire(round, "to_gateway"),
    "the wire to the hub": lambda round: cut_the_wire(round, "to_hub"),
    "the wire twice": cut_the_wire,
    "an answer": lose_an_answer,
}
FAULTS: Final[Mapping[str, Verb]] = {
    "the gateway": the_gateway,
    "the hub": the_hub,
    "both": both,
    "the hub and its wire": the_hub_and_its_wire,
}


# --- the laws ---


async def settled(round: Round) -> list[MessageRow]:
    """Every message of the round at its end."""
    waits = round.stage.courier.moving.wait_for
    return [
        await waits(row.id, PATIENCE_S * 20, lambda now: now.settled_at is not None)
        for row in round.said.rows
    ]


async def check(round: Round, rows: Sequence[MessageRow]) -> None:
    """Nothing was lost, nothing was said twice, and every state followed from the one before."""
    stage = round.stage
    for row in rows:
        token = round.said.tokens[row.id]
        if row.state not in (MessageState.CONSUMED, MessageState.ANSWERED):
            raise Broken(f"{row.kind} was lost: {row.state}, {row.reason_code}: {row.reason}")
        assert row.to_agent_id is not None
        heard = heard_of(stage, row.to_agent_id, token)
        if heard != 1:
            raise Broken(f"{row.kind} was said {heard} times")
        if row.kind in ANSWERED and row.state is MessageState.ANSWERED and token not in (row.answer or ""):
            raise Broken(f"{row.kind} has the answer to something else: {row.answer}")
        await check_moves(stage, row)
    check_order(round, rows)


def heard_of(stage: Stage, agent: AgentId, token: str) -> int:
    """How often an agent has heard a token."""
    return sum(token in said for said in stage.gateway.said(SESSIONS[agent]))


async def check_moves(stage: Stage, row: MessageRow) -> None:
    """Each move is one of the table, and they are counted without a gap."""
    moves = await stage.store.read(message_rows.moves_of, row.id)
    if [move.seq for move in moves] != list(range(1, len(moves) + 1)):
        raise Broken("its moves are not counted one by one")
    legal = {(before, after) for before, _, after in MESSAGE.moves()}
    for earlier, later in pairwise(moves):
        step = (earlier.new_state, later.new_state)
        if later.old_state is not earlier.new_state or (step not in legal and step[0] is not step[1]):
            raise Broken(f"it went from {step[0]} to {step[1]}")


def check_order(round: Round, rows: Sequence[MessageRow]) -> None:
    """What one agent was told, it heard in that order."""
    for agent, session in SESSIONS.items():
        tokens = [round.said.tokens[row.id] for row in rows if row.to_agent_id == agent]
        heard = [token for said in round.stage.gateway.said(session) for token in tokens if token in said]
        if heard != tokens:
            raise Broken(f"said {tokens}, heard {heard}")


async def check_leads(round: Round) -> None:
    """Each board has one lead, which its gateway has made once."""
    stage = round.stage
    for board in round.said.boards:
        with anyio.fail_after(PATIENCE_S):
            while (home := await lead_of(stage, board.id)) is None or home.state != "ready":
                await anyio.sleep(0.02)
        there = [agent for agent in stage.gateway.agents if agent == home.remote_id]
        rows = await stage.store.read(gateway_agents.list_gateway_agents, GATEWAY)
        if len(there) != 1 or [row.remote_id for row in rows].count(home.remote_id) != 1:
            raise Broken(f"lead {home.remote_id} is there {len(there)} times")


async def lead_of(stage: Stage, board: BoardId) -> GatewayAgentRow | None:
    lead = await stage.store.read(boards.lead_of, board)
    if lead is None:
        return None
    return await stage.store.read(gateway_agents.find_gateway_agent, lead.agent_id)


async def check_broadcast(round: Round) -> None:
    """Every board's lead has heard it, once."""
    stage, id = round.stage, round.said.broadcast
    if id is None:
        return
    with anyio.fail_after(PATIENCE_S):
        while any(row.settled_at is None for row in await of_broadcast(stage, id)):
            await anyio.sleep(0.02)
    for row in await of_broadcast(stage, id):
        assert row.board_id is not None
        home = await lead_of(stage, row.board_id)
        said = [] if home is None else stage.gateway.said(f"agent:{home.remote_id}:main")
        heard = sum(f"token-{round.number}-b." in text for text in said)
        if not row.is_delivered or heard != 1:
            raise Broken(f"the lead of {row.board} has heard it {heard} times: {row.state}, {row.reason}")
        await check_moves(stage, row)


async def of_broadcast(stage: Stage, id: str) -> list[MessageRow]:
    return await stage.store.read(message_rows.list_messages, broadcast_id=id)


async def check_question(round: Round) -> None:
    """The user was asked once and has answered once, and who asked was told once."""
    stage, id = round.stage, round.said.question
    if id is None:
        return
    token = f"token-{round.number}-q."
    with anyio.fail_after(PATIENCE_S):
        while (row := await stage.store.read(questions.get_question, id)).settled_at is None:
            await anyio.sleep(0.02)
        while any(
            one.settled_at is None for one in await stage.store.read(message_rows.list_messages, is_open=True)
        ):
            await anyio.sleep(0.02)
    if row.answer != f"blue {token}":
        raise Broken(f"the question is {row.state}: {row.answer}")
    asked = sum(token in said for said in stage.gateway.said(MAIN))
    told = sum(token in said for said in stage.gateway.said(LEADS))
    items = await stage.store.read(board_memory.list_memory, BOARD, MemoryFilter(reply_to=id), limit=9)
    if (asked, told, len(items)) != (1, 1, 1):
        raise Broken(f"the user was asked {asked} times, the lead told {told} times, {len(items)} items")


async def check_souls(round: Round) -> None:
    """What was written is there, and it stands in the history once."""
    for agent, content in round.said.souls:
        with anyio.fail_after(PATIENCE_S):
            while await _is_open(round, agent):
                await anyio.sleep(0.02)
        there = round.stage.gateway.agents["worker"].files["SOUL.md"]
        if there != content:
            raise Broken(f"the soul is {there!r}")
        history = await round.stage.souls.history(OPERATOR, BOARD, agent, limit=50)
        written = [one for one in history if one.kind == "written"]
        kept = Counter(one.sha256 for one in written)
        if not written or kept[written[0].sha256] != 1:
            raise Broken("the soul stands in the history more than once")


async def _is_open(round: Round, agent: AgentId) -> bool:
    return await round.stage.store.read(souls.find_open, agent) is not None


# --- rounds ---


async def play(stage: Stage, number: int, seed: int) -> str:
    """One round; what it was. Raises Broken."""
    round = Round(stage, number, SeededChance(seed * 100_003 + number))
    verb, fault = [*VERBS][round.draw(len(VERBS))], [*LAID, *FAULTS][round.draw(len(LAID) + len(FAULTS))]
    told = f"{verb} / {fault}"
    try:
        with anyio.fail_after(PATIENCE_S):
            if fault in LAID:
                LAID[fault](round)
            await VERBS[verb](round)
            if fault in FAULTS:
                await anyio.sleep(round.chance.uniform(0.0, 0.08))
                await FAULTS[fault](round)
            rows = await settled(round)
        await check(round, rows)
        await check_souls(round)
        await check_leads(round)
        await check_broadcast(round)
        await check_question(round)
    except TimeoutError:
        states = [(await stage.get(row)).state for row in round.said.rows]
        raise Broken(f"round {number} (seed {seed}), {told}: it came to no end: {states}") from None
    except Broken as broken:
        raise Broken(f"round {number} (seed {seed}), {told}: {broken}") from None
    finally:
        stage.wire.heal()
        stage.gateway.release(WORKERS)
    return told


async def play_all(rounds: int, seed: int, *, tell: Callable[[str], None] = lambda line: None) -> None:
    """Play so many rounds on one stage. Raises Broken."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_stage(Path(folder)) as stage:
            tokens: list[str] = []
            for number in range(rounds):
                began = time.monotonic()
                told = await play(stage, number, seed)
                tokens += [f"token-{number}-"]
                tell(f"{number:4} {time.monotonic() - began:5.2f} s  {told}")
            for session in SESSIONS.values():
                said = stage.gateway.said(session)
                words = Counter(word for text in said for word in text.split() if word.startswith("token-"))
                if twice := [word for word, count in words.items() if count > 1]:
                    raise Broken(f"at the end, said twice: {twice}")


def answer(session: str, message: str) -> str:
    """What agents say; the main agent has asked the user, who likes blue."""
    asked = re.search(r"^Question ID: (\S+)$.*(token-\S+)", message, re.MULTILINE | re.DOTALL)
    if session == MAIN and asked is not None:
        return f"ANSWER {asked[1]}: blue {asked[2]}"
    return f"ok: {message}"


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    """Everything is well."""
    clock = FastClock()
    async with (
        fake_gateway("west", agents=("main", "lead", "worker"), clock=clock) as gateway,
        gateway_wire(gateway.url) as wire,
        open_store(f"sqlite:///{folder / 'hub.db'}") as store,
        anyio.create_task_group() as tasks,
    ):
        gateway.answer_with(answer)
        stage = Stage(store, gateway, wire, tasks, folder, clock)
        await declare(store, clock)
        await stage.boot()
        yield stage
        tasks.cancel_scope.cancel()


def first_broken(error: BaseException) -> Broken | None:
    """The law that was broken, however deep it lies in groups."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(first_broken, error.exceptions)), None)
    return error if isinstance(error, Broken) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds, and tell of each; 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args(arguments)
    tell = (lambda line: None) if given.quiet else (lambda line: print(line, flush=True))  # noqa: T201
    try:
        anyio.run(lambda: play_all(given.rounds, given.seed, tell=tell))
    except BaseException as error:
        broken = first_broken(error)
        if broken is None:
            raise
        print(broken, file=sys.stderr)  # noqa: T201
        return 1
    print(f"{given.rounds} rounds of seed {given.seed}: nothing lost, nothing said twice")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
