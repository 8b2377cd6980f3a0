"""Configs of agents: read, changed all or none, taken back."""

from typing import Annotated

from fastapi import Query

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, Matching
from hub.api.facade import HubFacade
from hub.api.paging import Paging
from hub.api.views.agent_configs import (
    ConfigEdit,
    ConfigMoveView,
    ConfigRevert,
    ConfigsChangedView,
    ConfigurationView,
    ConfigView,
    WantedConfig,
    WantedConfigs,
)
from hub.api.views.view import View
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/agents/{name}", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_AGENT))

_REFUSED = refusals(
    ErrorCode.UNKNOWN_AGENT,
    ErrorCode.UNKNOWN_CONFIG,
    ErrorCode.BAD_CONFIG,
    ErrorCode.MANAGED_BY_FILE,
    ErrorCode.LIMIT_REACHED,
)
_KEY_UNKNOWN = refusals(ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_CONFIG)


class ConfigHistory(View):
    """Some changes of configs."""

    changes: tuple[ConfigMoveView, ...]
    next_cursor: str | None = None


@router.get("/config")
async def get_configs(hub: Hub, name: str, match: Match) -> ConfigurationView:
    """All configs of an agent, and the configuration that it works by."""
    told = await hub.agent_configs.of_agent(name)
    match.tell(_tag(told.rev))
    return told


@router.put("/config", responses=_REFUSED)
async def replace_configs(
    hub: Hub, actor: Actor, name: str, match: Match, wanted: WantedConfigs
) -> ConfigsChangedView:
    """Make these the configs of an agent, apart from what hub.toml declares; all or none."""
    rev = await _expected(hub, name, match)
    done = await hub.agent_configs.change(name, wanted.configs, replaces=True, expected_rev=rev, actor=actor)
    return _tagged(done, match)


@router.patch("/config", responses=_REFUSED)
async def edit_configs(
    hub: Hub, actor: Actor, name: str, match: Match, edit: ConfigEdit
) -> ConfigsChangedView:
    """Change and remove some configs of an agent, all or none."""
    rev = await _expected(hub, name, match)
    done = await hub.agent_configs.change(name, edit.configs, unset=edit.unset, expected_rev=rev, actor=actor)
    return _tagged(done, match)


@router.get("/config/{key}", responses=_KEY_UNKNOWN)
async def get_config(hub: Hub, name: str, key: str, match: Match) -> ConfigView:
    """One config of an agent."""
    told, rev = await hub.agent_configs.get(name, key)
    match.tell(_tag(rev))
    return told


@router.put("/config/{key}", responses=_REFUSED)
async def put_config(
    hub: Hub, actor: Actor, name: str, key: str, match: Match, wanted: WantedConfig
) -> ConfigsChangedView:
    """Make one config this; a new one too."""
    rev = await _expected(hub, name, match)
    done = await hub.agent_configs.change(name, {key: wanted}, expected_rev=rev, actor=actor)
    return _tagged(done, match)


@router.delete("/config/{key}", responses=_REFUSED)
async def delete_config(hub: Hub, actor: Actor, name: str, key: str, match: Match) -> ConfigsChangedView:
    """Remove one config; where the agent's template has a default, that holds again."""
    rev = await _expected(hub, name, match)
    done = await hub.agent_configs.change(name, {}, unset=(key,), expected_rev=rev, actor=actor)
    return _tagged(done, match)


@router.get("/config-history")
async def config_history(
    hub: Hub,
    name: str,
    paging: Paging,
    key: Annotated[str | None, Query(max_length=255, description="Changes of this config alone.")] = None,
) -> ConfigHistory:
    """Who changed which config from what to what, the newest first."""
    found = await hub.agent_configs.history(
        name, limit=paging.limit + 1, below=paging.after_number(), key=key
    )
    page = paging.fetched(found, key=lambda change: (change.seq,))
    return ConfigHistory(changes=page.items, next_cursor=page.next_cursor)


@router.post("/config-revert", responses=_REFUSED)
async def revert_configs(
    hub: Hub, actor: Actor, name: str, match: Match, wanted: ConfigRevert
) -> ConfigsChangedView:
    """Make the configs what they were after a change; that is a change too, and can be taken back."""
    rev = await _expected(hub, name, match)
    return _tagged(await hub.agent_configs.revert(name, to=wanted.to, expected_rev=rev, actor=actor), match)


def _tag(rev: int) -> str:
    return f'"{rev}"'


async def _expected(hub: HubFacade, name: str, match: Matching) -> int | None:
    """The revision that an ``If-Match`` asks for, which the change itself then looks at again.

    Raises:
        ChangedMeanwhile: it is another one already.
    """
    if not match.is_asked:
        return None
    rev = (await hub.agent_configs.of_agent(name)).rev
    match.check(_tag(rev))
    return rev


def _tagged(done: ConfigsChangedView, match: Matching) -> ConfigsChangedView:
    match.tell(_tag(done.rev))
    return done
