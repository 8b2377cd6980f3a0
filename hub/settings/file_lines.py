"""Lines of hub.toml that declare an object, which thus cannot be changed elsewhere: ``hub.toml:12``."""

from collections.abc import Callable

from hub.settings.locate import KeyPath
from hub.settings.reading import Reading
from protocol.errors import ErrorCode, HubError


class ManagedByFile(HubError):
    """The agent or template is declared in hub.toml, and can be changed only there."""

    code = ErrorCode.MANAGED_BY_FILE


class FileLines:
    """Locator of agents and templates in the settings in use.

    Args:
        reading: returns the text in use with the position of each value.
    """

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading

    def of_agent(self, name: str, user: str, *key: str) -> str:
        """Return the line of this user's agent, or of one *key* of the agent."""
        reading = self._reading()
        agents = () if reading.settings is None else reading.settings.agents
        for number, agent in enumerate(agents):
            if (agent.name, agent.user) == (name, user):
                return self._line(("agents", number, *(key or ("name",))))
        return self._line(("agents",))

    def of_template(self, name: str) -> str:
        """Return the line of the template."""
        reading = self._reading()
        templates = () if reading.settings is None else reading.settings.templates
        for number, template in enumerate(templates):
            if template.name == name:
                return self._line(("templates", number, "name"))
        return self._line(("templates",))

    def _line(self, path: KeyPath) -> str:
        places = self._reading().places
        if places is None:
            return "hub.toml"
        place = places.value(path)
        return f"{place.file}:{place.line}"
