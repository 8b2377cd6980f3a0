"""Checks of ``[[connectors]]``, and of agents that read a connector, by their providers."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from hub.settings.connector_settings import ConnectorSettings
from hub.settings.locate import KeyPath
from hub.settings.problems import Problem, Telling, did_you_mean
from hub.settings.sentences import sentence
from hub.settings.settings import Settings


def found_in_connectors(settings: Settings, tell: Telling) -> Iterator[Problem]:
    """Yield problems of unknown providers, refused settings or filters, and missing connectors."""
    if not settings.connectors and not any(agent.connector for agent in settings.agents):
        return
    # Imported here: most settings have no connectors.
    from hub.connectors.catalog import UnknownProvider, find
    from hub.connectors.connector import Auth, ConnectorClass

    kinds: dict[str, ConnectorClass] = {}
    for number, one in enumerate(settings.connectors):
        whole: KeyPath = ("connectors", number)
        try:
            kind = kinds[one.name] = find(one.provider, settings.plugins.connectors)
        except UnknownProvider as error:
            # A broken plug-in must not prevent the hub's start.
            problem = tell.warning if error.is_broken else tell.error
            yield problem((*whole, "provider"), str(error), error.hint)
            continue
        yield from _not_taken(kind.settings_model, one.settings, (*whole, "settings"), tell)
        if kind.auth in (Auth.PASSWORD, Auth.SECRET) and one.secret is None and not _signs_in(kind, one):
            hint = 'write secret = { file = "PATH" } or { env = "NAME" }'
            yield tell.error(whole, f"{one.provider} wants a secret", hint)
        if one.provider == "webhook" and settings.listen.webhooks is None:
            yield tell.error(whole, "nothing listens for webhooks", "write [listen.webhooks] with an address")
    yield from _found_in_agents(settings, kinds, tell)


def _found_in_agents(settings: Settings, kinds: Mapping[str, Any], tell: Telling) -> Iterator[Problem]:
    declared = {one.name: one for one in settings.connectors}
    read_by: dict[str, str] = {}
    for number, agent in enumerate(settings.agents):
        if agent.connector is None:
            continue
        key: KeyPath = ("agents", number, "connector")
        connector = declared.get(agent.connector)
        if connector is None or connector.user != agent.user:
            his = [one.name for one in settings.connectors if one.user == agent.user]
            near = did_you_mean(agent.connector, his)
            yield tell.error(
                key, f"there is no connector {agent.connector!r}", near or "write it in [[connectors]]"
            )
            continue
        if connector.provider == "webhook" and agent.connector in read_by:
            told = f"the agent {read_by[agent.connector]!r} reads this webhook already"
            hint = "what is posted goes to one agent: give the other a webhook of its own"
            yield tell.error(key, told, hint)
        read_by.setdefault(agent.connector, agent.name)
        kind = kinds.get(agent.connector)
        if kind is None:
            continue
        yield from _not_taken(kind.filter_model, agent.filter, ("agents", number, "filter"), tell)
        if kind.needs_model and settings.model is None:
            told = "there is no model that could read its messages"
            yield tell.error(key, told, "write [model]; what a mailbox brings is prose")
        if agent.push and not kind.can_push and connector.provider != "webhook":
            told = f"{connector.provider} cannot tell when something is new"
            yield tell.error(("agents", number, "push"), told, "leave it out; a schedule reads it")


def _signs_in(kind: Any, one: ConnectorSettings) -> bool:
    """Return True if a person signs in at the provider, as with XOAUTH2 at a mail server."""
    try:
        return kind.oauth(kind.settings_model.model_validate(one.settings)) is not None
    except ValidationError:
        return True  # reported by _not_taken


def _not_taken(
    model: type[BaseModel], given: Mapping[str, Any], whole: KeyPath, tell: Telling
) -> Iterator[Problem]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            context = found.get("ctx", {})
            what = sentence(found["type"], found["msg"], found["input"], context)
            path: KeyPath = (*whole, *found["loc"])
            hint = what.hint
            if found["type"] == "extra_forbidden" and not hint:
                hint = did_you_mean(str(found["loc"][-1]), model.model_fields)
                hint = hint or f"known are {', '.join(model.model_fields)}"
            yield tell.error(path, what.message, hint)
