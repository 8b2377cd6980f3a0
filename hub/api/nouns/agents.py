"""Agents: how they are, pausing them, and starting a run of one."""

from typing import Annotated, Any

from fastapi import Body, Header, Response
from pydantic import Field, StringConstraints

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, Matching, tag_of
from hub.api.facade import HubFacade
from hub.api.paging import Paging
from hub.api.views.view import AgentView, RunView, View
from hub.runs.wishes import MOST_NEEDS, wish_of
from protocol.errors import ErrorCode
from protocol.locks import MOST_LOCKS

router = NounRouter(prefix="/v1/agents", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT))

_DECLARED = {
    *("id", "name", "device", "paths", "file_extensions", "data_types", "prompt"),
    *("timezone", "source", "priority", "max_concurrent_runs", "lifecycle"),
    *("description", "type", "subtype", "template", "external_id", "instance_id", "project_id"),
    *("needs", "locks"),
}


class Agents(View):
    """Some agents."""

    agents: tuple[AgentView, ...]
    next_cursor: str | None = None


class Resumption(View):
    """How an agent goes on. *catch_up*: what its paused schedules passed over is made up for."""

    catch_up: bool = False


# What the document tells; what is wrong is said in words by ``protocol.requirements`` and ``protocol.locks``.
_NUMBER = "(0|[1-9][0-9]{0,5})"
_NEEDED = rf"^[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,127}}( *(>=|>|<=|<|==|!=|\^|~) *{_NUMBER}(\.{_NUMBER}){{0,2}})?$"
_LOCKED = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}$"

Need = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    Field(json_schema_extra={"pattern": _NEEDED, "examples": ["file.read >= 1.2"]}),
]
Lock = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    Field(json_schema_extra={"pattern": _LOCKED, "examples": ["mailbox"]}),
]


class WantedRun(View):
    """What a run needs, takes and is for, beside what its agent says.

    *needs*: capabilities, as in ``file.read >= 1.2``. *locks*: names. *context* is kept with the run and
    told to its device; *task_id* stands in it.
    """

    needs: Annotated[tuple[Need, ...], Field(max_length=MOST_NEEDS)] = ()
    locks: Annotated[tuple[Lock, ...], Field(max_length=MOST_LOCKS)] = ()
    context: dict[str, Any] = Field(default_factory=dict)
    task_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")] | None = (
        None
    )


@router.get("")
async def list_agents(hub: Hub, paging: Paging) -> Agents:
    """All agents that are not archived, by name."""
    page = paging.cut(await hub.agents.all(), key=lambda agent: (agent.name, agent.id))
    return Agents(agents=page.items, next_cursor=page.next_cursor)


@router.get("/{name}")
async def get_agent(hub: Hub, name: str, match: Match) -> AgentView:
    """One agent, its schedules with their next fires, and its last run."""
    return _tagged(await hub.agents.get(name), match)


@router.post("/{name}/pause")
async def pause_agent(hub: Hub, actor: Actor, name: str, match: Match) -> AgentView:
    """Start no run of it any more; one that executes goes on to its end."""
    await _check(hub, name, match)
    return _tagged(await hub.agents.pause(name, actor=actor), match)


@router.post("/{name}/resume")
async def resume_agent(
    hub: Hub,
    actor: Actor,
    name: str,
    match: Match,
    how: Annotated[Resumption, Body(default_factory=Resumption)],
) -> AgentView:
    """Let it work again, and its schedules fire again, those too that paused after failures."""
    await _check(hub, name, match)
    return _tagged(await hub.agents.resume(name, catch_up=how.catch_up, actor=actor), match)


@router.post(
    "/{name}/runs",
    status_code=202,
    tags=["runs"],
    responses=refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.LIMIT_REACHED, ErrorCode.TOO_LARGE),
)
async def start_run(
    hub: Hub,
    actor: Actor,
    name: str,
    response: Response,
    wanted: Annotated[WantedRun, Body(default_factory=WantedRun)],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
) -> RunView:
    """Queue a run; the same ``Idempotency-Key`` gives the run that it gave before.

    A run whose needs are not met waits until they are: ``waiting_for`` says for what.
    """
    wish = wish_of(needs=wanted.needs, locks=wanted.locks, context=wanted.context, task_id=wanted.task_id)
    run = await hub.agents.start_run(name, idempotency_key, actor=actor, wish=wish)
    response.headers["location"] = f"/v1/runs/{run.id}"
    return run


def tag_of_agent(agent: AgentView) -> str:
    """Of what is declared of an agent, and of what people decide about it; not of how it fares."""
    schedules = [
        schedule.model_dump(mode="json", exclude={"next_fires", "consecutive_failures"})
        for schedule in agent.schedules
    ]
    declared = agent.model_dump(mode="json", include=_DECLARED)
    return tag_of(declared, schedules)


async def _check(hub: HubFacade, name: str, match: Matching) -> None:
    if match.is_asked:
        match.check(tag_of_agent(await hub.agents.get(name)))


def _tagged(agent: AgentView, match: Matching) -> AgentView:
    match.tell(tag_of_agent(agent))
    return agent
