"""``[redaction]``: patterns of text hidden from models, which agents refer to by name."""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.settings.reload_policy import live
from hub.settings.values import Table

Regex = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class RedactionSettings(Table):
    """``[redaction]``: named patterns in addition to email, phone, iban, card, ip and address."""

    patterns: Annotated[dict[str, Regex], Field(max_length=50)] = live(
        {}, "Regular expressions by name, for agents to name in redact."
    )
