"""Selection of messages that an agent reads: ``filter`` of ``[[agents]]``, validated in hub.toml.

A provider adds its own fields. All conditions are checked here, even those that the provider's server has
applied.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hub.extraction.patterns import BadPattern, Pattern

MOST_WORDS: Final = 100
Words = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=300)], ...], Field(max_length=MOST_WORDS)
]


def _pattern(written: str) -> str:
    try:
        Pattern(written)
    except BadPattern as error:
        raise ValueError(str(error)) from error
    return written


class AttachmentFilter(BaseModel):
    """Table ``attachments``: names are always listed, contents are read only on request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fetch: bool = Field(default=False, description="Read what is in them, too.")
    types: Words = Field(
        default=(), description='Media types that are read, as in "application/pdf"; none: all.'
    )
    max_mb: float = Field(default=10.0, gt=0, le=25, description="Larger ones are named only.")


class Filter(BaseModel):
    """Filter with the fields that all providers share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    from_any: Words = Field(default=(), description='Senders: addresses, "@domain", or parts of a name.')
    not_from: Words = Field(default=(), description="Senders that are left out.")
    subject_any: Words = Field(default=(), description="Words of which the subject has one.")
    subject_regex: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None, max_length=200, description="A pattern that is found in the subject; (?i) ignores case."
    )
    unread_only: bool = Field(default=False, description="Only what nobody has read.")
    include_bulk: bool = Field(default=False, description="Lists, newsletters and automatic answers, too.")
    include_sent: bool = Field(default=False, description="What the owner wrote, too.")
    has_attachment: bool | None = Field(default=None, description="Only with attachments, or only without.")
    attachments: AttachmentFilter = AttachmentFilter()
    max_chars: int = Field(default=12_000, ge=200, le=200_000, description="Of one message.")
    max_messages: int = Field(default=200, ge=1, le=10_000, description="Read in one run; the next goes on.")
    lookback_days: int = Field(
        default=7, ge=0, le=90, description="How far back the first run looks; 0: from now."
    )
    quoted: Literal["context", "drop", "keep"] = Field(
        default="context", description="What becomes of quoted mail."
    )
