"""Revisions of the settings that all nodes share: published at one node, applied by all."""

from typing import Annotated

from msgspec import Meta

from hub.api.binding import Head
from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, audited, command, listed, route
from hub.api.nouns.config import ReloadView, reload_view
from hub.api.parameters import Caller, Match
from hub.api.view import Instant, View
from hub.settings.edits import BeyondSettings
from hub.settings.problems import document
from hub.settings.reload import Reloader
from hub.settings.shared import revision_tag
from protocol.errors import ErrorCode
from storage.agents import settings_revisions
from storage.agents.settings_revisions import SettingsRevision
from storage.store import Store


class RevisionView(View, kw_only=True):
    """A revision of the settings that all nodes share; the newest one counts.

    *tables*: that it has; none: from then on each node uses its own file alone. *text*: null in lists too.
    """

    number: int
    at: Instant
    actor: str
    tables: tuple[str, ...]
    text: str | None = None


class ConfigPush(View, kw_only=True):
    """Request to publish shared settings: those of a *text*, of an earlier *revision*, or none (*withdraw*).

    *name*: of the text, in problems. *archive*: archive the agents that no hub.toml declares then; else a
    withdrawal is refused that would do so.
    """

    text: Annotated[str, Meta(max_length=1_000_000)] | None = None
    name: Annotated[str, Meta(max_length=4_096)] = "text"
    revision: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    withdraw: bool = False
    archive: bool = False

    def __post_init__(self) -> None:
        if (self.text is not None) + (self.revision is not None) + self.withdraw != 1:
            raise ValueError("give either text, revision or withdraw")


class PublishedView(ReloadView, kw_only=True):
    """Changes at the node that published the *revision*."""

    revision: int


class Revisions(Noun):
    """Revisions of the settings that all nodes share. A secret is in them as its reference."""

    name, path = "revisions", "/v1/config/revisions"

    def __init__(self, reloader: Reloader, store: Store) -> None:
        self._reloader = reloader
        self._store = store

    @command(
        "config revisions",
        example="hub config revisions",
        json="config.revisions",
        table=("number as revision", "at|at", "actor", "tables|or_none"),
        empty="no revision: each node uses its own file",
    )
    @listed("", Scope.SETTINGS, key=lambda revision: (revision.number,))
    async def all(self, part: Part = ALL) -> list[RevisionView]:
        """List the revisions of the settings that all nodes share, the newest first."""
        rows = await self._store.read(settings_revisions.list_revisions, limit=part.limit, after=part.after)
        return [_revision(row, text=None) for row in rows]

    @route("GET", "/{number}", Scope.SETTINGS, errors=[ErrorCode.BAD_PARAMS])
    async def get(self, number: Annotated[int, Meta(ge=1, le=2**53)], head: Head) -> RevisionView:
        """Return a revision of the shared settings with its text."""
        head.headers["etag"] = revision_tag(number)
        return _revision(await self._store.read(settings_revisions.find_revision, number))

    @route("POST", "", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    @audited("settings.published")
    async def push(self, caller: Caller, push: ConfigPush, match: Match) -> PublishedView:
        """Publish the shared settings of a text as a revision, which all nodes apply within seconds.

        This node checks them first, and publishes nothing that it cannot apply itself. With ``If-Match``
        only if that revision is the newest; ``"0"``: if there is none. Needs all scopes of an admin.
        """
        if not caller.may_all:
            raise BeyondSettings("settings of all nodes are published with all scopes of an admin")
        text = push.text
        if push.revision is not None:
            text = (await self._store.read(settings_revisions.find_revision, push.revision)).text
        done = await self._reloader.publish(
            text, name=push.name, actor=caller.actor, expected=match.tags, archives=push.archive
        )
        match.set_tag(revision_tag(done.revision))
        return PublishedView.from_row(reload_view(done), revision=done.revision)


def _revision(row: SettingsRevision, **own: None) -> RevisionView:
    return RevisionView.from_row(row, tables=tuple(document(row.text or "")), **own)
