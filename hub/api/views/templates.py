"""Templates, as operators are told of them, and what is wrong with what is made from them."""

from typing import Any, Literal

from hub.api.views.view import View


class TemplateView(View):
    """A template. *agents*: the names of those that are made from it; *version* grows with each change."""

    name: str
    description: str | None
    type: str
    configuration_schema: dict[str, Any]
    default_configuration: dict[str, Any]
    prompt: str | None
    source: Literal["file", "api"]
    version: int
    agents: tuple[str, ...]


class BrokenView(View):
    """An agent that is not, or would not be, what its template asks for."""

    agent: str
    user: str
    problems: tuple[str, ...]


class VerdictView(View):
    """What is wrong, if anything: with the thing itself, and with the agents that it would break."""

    ok: bool
    problems: tuple[str, ...] = ()
    broken: tuple[BrokenView, ...] = ()
