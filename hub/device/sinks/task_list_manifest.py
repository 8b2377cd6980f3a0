"""Manifest of a foreign to-do service: requests, authentication header, and mapping of fields.

Paths into JSON are keys with dots between, as in ``due.date``. In the path of a request, ``{id}`` is the
item's id at the server.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SHIPPED: Final = Path(__file__).parent  # folder of the manifests that are included
JsonPath = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$(?!\n)")]
Scalar = str | int | float | bool


class ManifestTable(BaseModel):
    """Base of the tables of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")


class ManifestRequest(ManifestTable):
    """Request to the server."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(description="Method of the request.")
    path: str = Field(pattern=r"^/", description="Path below the address; {id} is that of the item.")
    query: dict[str, str] = Field(default={}, description="Parameters after the path.")


class ListRequest(ManifestRequest):
    """Request for all items, page by page."""

    items: JsonPath = Field(description="Where the items are in the answer.")
    cursor: JsonPath | None = Field(default=None, description="Where the answer names the next page.")
    cursor_query: str = Field(default="cursor", description="Parameter that requests the next page.")


class KeyPlace(ManifestTable):
    """Place of a row's key in its item."""

    path: JsonPath = Field(description="Field that has the key.")
    form: Literal["field", "line", "label"] = Field(
        default="field", description="The whole field, a line at the end of a text, or one of a list."
    )


class FieldPlace(ManifestTable):
    """Place of a field in an item."""

    path: JsonPath = Field(description="Where the field is read.")
    write: JsonPath | None = Field(default=None, description="Where it is written, if elsewhere.")
    values: dict[str, Scalar] = Field(default={}, description="What the server has for each value.")
    clear: dict[str, Scalar | None] = Field(default={}, description="What is sent for an empty field.")
    is_day: bool = Field(default=False, description="The field is a day; a time of day is left out.")
    max_length: int = Field(default=100_000, ge=1, description="Characters that the server keeps.")


class SinkManifest(ManifestTable):
    """Task list at a server."""

    url: str = Field(pattern=r"^https?://[^\s@]+$(?!\n)", description="Address of the server's interface.")
    authorization: str = Field(
        default="Bearer {token}", pattern=r"\{token\}", description="Header of each request."
    )
    idempotency_header: str | None = Field(
        default=None, description="Header by which the server recognizes a repeated request."
    )
    link: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@]+$(?!\n)",
        description="Address at which people find an item; {id} is that of the item.",
    )
    id: JsonPath = Field(default="id", description="Where an item has its id.")
    changed: JsonPath | None = Field(default=None, description="Where it has the time of its latest change.")
    deleted: JsonPath | None = Field(default=None, description="Where a deleted item has true.")
    key: KeyPlace = Field(description="Where the key of a row is.")
    fields: dict[str, FieldPlace] = Field(
        min_length=1, description="By title, text, date, priority, status, or the name of a column."
    )
    list: ListRequest = Field(description="Lists the open items.")
    get: ManifestRequest = Field(description="Reads one item.")
    create: ManifestRequest = Field(description="Makes an item.")
    update: ManifestRequest = Field(description="Changes fields of an item.")
    delete: ManifestRequest = Field(description="Deletes an item.")
    close: ManifestRequest | None = Field(default=None, description="Marks an item as done.")
    reopen: ManifestRequest | None = Field(default=None, description="Marks an item as not done.")

    @property
    def closes(self) -> bool:
        """True if requests of their own mark items as done and as not done."""
        return self.close is not None and self.reopen is not None and "status" in self.fields
