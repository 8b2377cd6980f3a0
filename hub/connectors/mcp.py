"""MCP connector: resources or tool results of another MCP server as messages.

A program of the hub, in the jail of process connectors, speaks the Model Context Protocol. So no answer of
the server is parsed in the hub, which sends the program's requests and adds the token. A server that is a
program itself runs in a second jail beside the first one, and has no socket either.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from hub.connectors import process
from hub.connectors.calling import origin_of, server_address
from hub.connectors.connector import Context, JsonPath, ProviderSettings
from hub.connectors.entry_fields import EntryFields
from hub.connectors.process import ProcessConnector, ProcessSettings, ProgramSettings

_READ_SHARE: Final = 3  # the part of the hub's patience with the program that one resource has


class McpTool(BaseModel):
    """Call of a tool, whose result is a list of entries.

    *list*: path of the list in the result; without it, the result is the list, or one entry. *next*: path of
    what the argument *cursor* of the next call gets; without *cursor*, there is one call.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    arguments: dict[str, Any] = {}
    list: JsonPath | None = None
    cursor: Annotated[str, StringConstraints(max_length=200)] = ""
    next: JsonPath = "nextCursor"
    fields: EntryFields = EntryFields()


class McpSettings(ProviderSettings):
    """Table ``settings`` of a connector of the provider mcp."""

    url: Annotated[str, AfterValidator(server_address)] = Field(
        default="", max_length=1_000, description="Of the server's streamable HTTP: https://HOST/mcp"
    )
    server: ProgramSettings | None = Field(
        default=None, description="Instead of url: a server that is a program, which is started in a jail."
    )
    prefix: str = Field(default="", max_length=1_000, description="Begin of the URIs that are read.")
    tools: tuple[McpTool, ...] = Field(
        default=(), max_length=20, description="Read what these tools list, instead of resources."
    )

    @model_validator(mode="after")
    def _has_one_server(self) -> Self:
        if bool(self.url) == (self.server is not None):
            raise ValueError("write url, or server = { command = [...], folder = ... }")
        return self

    def problem_of_files(self) -> str | None:
        """Return why this node cannot start the server, or None."""
        return None if self.server is None else self.server.problem_of_files()


class McpConnector(ProcessConnector):
    """Resources of an MCP server, over streamable HTTP or of a program."""

    provider: ClassVar[str] = "mcp"
    settings_model: ClassVar[type[ProviderSettings]] = McpSettings

    def __init__(self, context: Context, settings: McpSettings, filter: Any) -> None:
        read_s = process.SILENCE_S / _READ_SHARE
        options: dict[str, Any] = {"url": settings.url, "prefix": settings.prefix, "read_s": read_s}
        if settings.tools:
            options["tools"] = _json(settings.tools)
        program = ProcessSettings(
            command=("python", "mcp_connector.py"),
            folder=Path(__file__).with_name("sdk"),
            origins=tuple(self.origins(settings)),
            methods=("POST",),
            options=options,
            accept_weaker_jail=True,  # it is a program of the hub
        )
        super().__init__(context, program, filter)
        self.companion = settings.server

    @classmethod
    def origin(cls, settings: Any) -> str:
        whose = settings.server.model_dump_json() if settings.server else settings.url
        return f"{cls.provider} {whose} {_json(settings.tools) if settings.tools else settings.prefix}"

    @classmethod
    def origins(cls, settings: Any) -> frozenset[str]:
        return frozenset((origin_of(settings.url),) if settings.url else ())


def _json(tools: tuple[McpTool, ...]) -> str:
    return msgspec.json.encode([tool.model_dump() for tool in tools], order="deterministic").decode()
