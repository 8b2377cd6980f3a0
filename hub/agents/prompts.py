"""Prompts with named variables: ``Find what {{ device }} holds about {{ project }}.``

A variable is a name between double braces, and stands for a value that is known when a run
is made. That is all there is: no conditions, no loops, and a value that looks like a
variable is not read again. A prompt without ``{{`` is what it is.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from protocol.errors import ErrorCode, HubError
from storage.agents.agent_snapshot import Setup

OPENS: Final = "{{"
_VARIABLE: Final = re.compile(r"\{\{(?:[ \t]*([A-Za-z_][\w.-]*)[ \t]*\}\})?", re.ASCII)
OWN: Final = ("agent", "data_types", "device", "timezone", "user")  # the hub's; they go before configs


class BadPrompt(HubError):
    """A prompt names what is not there, or braces stand in it that are no variable. Tells of every one."""

    code = ErrorCode.BAD_CONFIG


def variables_of(setup: Setup) -> dict[str, Any]:
    """All that the prompt of an agent may name: its configuration, and what the hub knows of it."""
    return {
        **setup.configuration,
        "agent": setup.name,
        "data_types": ", ".join(setup.data_types),
        "device": setup.device,
        "timezone": setup.timezone,
        "user": setup.user,
    }


def rendered(prompt: str, variables: Mapping[str, Any]) -> str:
    """*prompt* with the values in place of the names. Text stands as it is, all else as JSON.

    Raises:
        BadPrompt: it cannot be said.
    """
    if wrong := problems_in(prompt, variables):
        raise BadPrompt("; ".join(wrong))
    return _VARIABLE.sub(lambda found: _said(variables[found[1]]), prompt)


def problems_in(prompt: str, known: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with *prompt*, where the names of *known* are all that it may use; ``None``: any."""
    wrong: list[str] = []
    for found in _VARIABLE.finditer(prompt):
        name = found[1]
        if name is None:
            line = prompt.count("\n", 0, found.start()) + 1
            wrong.append(f"prompt, line {line}: '{{{{' opens no variable; write {{{{ name }}}}")
        elif known is not None and name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f" did you mean '{near[0]}'?" if near else ""
            wrong.append(
                f"prompt: there is no variable '{name}';{meant} known are {', '.join(sorted(known))}"
            )
    return list(dict.fromkeys(wrong))


def _said(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
