"""Configs of agents, as operators are told of them and change them."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from hub.api.views.view import View
from protocol.configs import ConfigType


class ConfigView(View):
    """One config. *source*: ``file`` is declared in hub.toml and changed there."""

    key: str
    type: ConfigType
    value: Any
    description: str | None
    source: Literal["file", "api"]
    created_at: AwareDatetime
    updated_at: AwareDatetime


class ConfigurationView(View):
    """The configs of an agent.

    *rev* grows with each change of the agent, and is the ``ETag``. *configuration* is what the agent works
    by: its own configs over the defaults of its template.
    """

    agent: str
    rev: int
    configs: tuple[ConfigView, ...]
    configuration: dict[str, Any]


class ConfigsChangedView(View):
    """What a change did: the keys that are not what they were, and the revision after it."""

    agent: str
    rev: int
    changed: tuple[str, ...]


class ConfigMoveView(View):
    """One change of one config. A type of ``null``: it was not there before, or is there no more."""

    seq: int
    key: str
    old_type: ConfigType | None
    old_value: Any
    new_type: ConfigType | None
    new_value: Any
    actor: str
    at: AwareDatetime


class WantedConfig(View):
    """What one config is to be.

    Without a *type* it keeps that which it has, and a new one gets that of its value.
    Without a *description* it keeps that.
    """

    value: Any
    type: ConfigType | None = None
    description: str | None = Field(None, max_length=4_096)


class WantedConfigs(View):
    """What all configs of an agent are to be, by key; those that are not named go."""

    configs: dict[str, WantedConfig]


class ConfigEdit(View):
    """Configs that are to change, by key, and keys that are to go; all others stay."""

    configs: dict[str, WantedConfig] = Field(default_factory=dict)
    unset: tuple[str, ...] = ()


class ConfigRevert(View):
    """Back to what the configs were after the change of this number; 0: before the first."""

    to: int = Field(ge=0, le=2**53)
