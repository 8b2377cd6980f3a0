"""MCP servers of others as sources: their resources are messages.

A program of the hub, in the jail of process connectors, speaks the Model Context Protocol. So no answer of
the server is parsed in the hub, which sends the program's requests and adds the token.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field

from hub.connectors.calling import origin_of, server_address
from hub.connectors.connector import Context, ProviderSettings
from hub.connectors.process import ProcessConnector, ProcessSettings

_KIT: Final = Path(__file__).with_name("sdk")


class McpSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider mcp."""

    url: Annotated[str, AfterValidator(server_address)] = Field(
        max_length=1_000, description="Of the server's streamable HTTP: https://HOST/mcp"
    )
    prefix: str = Field(default="", max_length=1_000, description="Begin of the URIs that are read.")


class McpConnector(ProcessConnector):
    """Resources of an MCP server, over streamable HTTP."""

    provider: ClassVar[str] = "mcp"
    settings_model: ClassVar[type[ProviderSettings]] = McpSettings

    def __init__(self, context: Context, settings: McpSettings, filter: Any) -> None:
        program = ProcessSettings(
            command=("python", "mcp_connector.py"),
            folder=_KIT,
            origins=tuple(self.origins(settings)),
            methods=("POST",),
            options=settings.model_dump(),
            accept_weaker_jail=True,  # it is a program of the hub
        )
        super().__init__(context, program, filter)

    @classmethod
    def origin(cls, settings: Any) -> str:
        return f"{cls.provider} {settings.url} {settings.prefix}"

    @classmethod
    def origins(cls, settings: Any) -> frozenset[str]:
        return frozenset((origin_of(settings.url),))
