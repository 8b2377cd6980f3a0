"""``[redaction]``: patterns of what a model is not to see, for agents to name."""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.settings.reload_policy import live
from hub.settings.values import Table

Regex = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class RedactionSettings(Table):
    """``[redaction]``: named patterns beside email, phone, iban, card, ip and address."""

    patterns: Annotated[dict[str, Regex], Field(max_length=50)] = live(
        {}, "Regular expressions by name, for agents to name in redact."
    )
