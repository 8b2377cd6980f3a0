"""Settings that map JSON fields of an entry to title, text, date and author of a message."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from hub.connectors.connector import JsonPath

Paths = Annotated[
    tuple[JsonPath, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]


class EntryFields(BaseModel):
    """Table ``fields``: paths in an entry; of several, the first that has a value counts, of *text* all.

    *version* changes with the content; without it, the content itself is compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Paths = ("id",)
    version: Paths = ()
    title: Paths = ("title",)
    text: Paths = ("text",)
    author: Paths = ("author",)
    created: Paths = ("created",)
    modified: Paths = ("modified",)
    link: Paths = ("link",)
    thread: Paths = ()  # accepted in manifests of earlier releases, and not read
    labels: Paths = ("labels[*]",)
