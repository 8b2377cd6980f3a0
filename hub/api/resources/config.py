"""Routes of settings: read, check, edit, reload and revert hub.toml, and revisions for all nodes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hub.api.binding import ResponseHead
from hub.api.resource import (
    ALL,
    NO_CHANGE,
    Actor,
    Caller,
    Instant,
    ListPage,
    ListPart,
    Match,
    Paging,
    Resource,
    View,
    audited,
    command,
    listed,
    route,
)
from hub.base.roles import BY_ALL, Scope
from hub.base.toml.positions import KeyPath, document
from hub.base.toml.problems import SettingsProblem, spell
from hub.settings.editor_schema import settings_schema
from hub.settings.edits import (
    APPLIED,
    CHANGED,
    BeyondSettings,
    CannotEdit,
    KeyChange,
    Source,
    combined,
    undone,
)
from hub.settings.reading import revision_tag
from hub.settings.reload import Edit, Reloader, ReloadResult
from protocol.errors import ErrorCode
from protocol.ids import NodeId
from storage import audit
from storage.audit import AuditRow
from storage.devices import settings_revisions as devices_settings_revisions
from storage.devices.settings_revisions import SettingsRevision
from storage.store import Store

PAGE: Final = 500  # changes read at once
Key = Annotated[str, Meta(min_length=1, max_length=300)]


class ProblemView(View):
    """Line of ``hub check``. *line* and *column* count from 1; 0: *file* overrides the file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"


class SettingsView(View):
    """The settings of a hub.

    Attributes:
        generation: grows with each change that was applied.
        tag: for ``If-Match``, the same as ``ETag``.
        file: the path of hub.toml.
        text: the file as it was applied.
        settings: every value in use, defaults too; secrets as references.
        origins: of each key with a value that is not the default, what sets it.
        waiting: keys whose values apply after a restart.
        refused: problems of the file when it was read last; empty: it was applied.
        on_last_good: the file was broken at the start, so that the last good settings are in use.
        revision: of the shared settings in use; null: all tables are those of the file.
    """

    generation: int
    tag: str
    file: str
    text: str
    settings: dict[str, Any]
    origins: dict[str, str]
    waiting: tuple[str, ...] = ()
    refused: tuple[ProblemView, ...] = ()
    on_last_good: bool = False
    revision: int | None = None


class ReloadView(View):
    """The keys that a reload changed, by the time that their values apply.

    Attributes:
        live: at once.
        reconnect: to new connections.
        restart: after the next start; also keys that an earlier reload changed.
        archived: agents that are no longer in hub.toml.
    """

    generation: int
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    warnings: tuple[ProblemView, ...] = ()


class ConfigCheckView(View):
    """Problems of a text, and the changes if it were hub.toml."""

    ok: bool
    problems: tuple[ProblemView, ...] = ()
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


class SettingsChangeView(KeyChange, View, kw_only=True):
    """A change of a key that was applied.

    Attributes:
        generation: of the settings with the new value, at the node.
        actor: who changed it, as in the audit log; *actor_name*: the name of its token.
        source: ``file``: read while the hub runs; ``start``: changed while it did not; ``edit`` and
            ``revert``: over this interface; ``revision``: published for all nodes; null: not known.
        node: where it was changed.
        revision: number of the shared settings with the new value; null: it is of this node alone.
    """

    generation: int
    at: Instant
    actor: str
    actor_name: str | None = None
    source: Source | None = None
    node: str | None = None
    revision: int | None = None


class ConfigDiffView(View):
    """The keys that differ between two generations of the settings."""

    since: int
    until: int
    changes: tuple[KeyChange, ...]


class SettingsRevert(View):
    """Request to take back changes: all since a *generation*, or the last one of a *key*."""

    generation: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    key: Key | None = None

    def __post_init__(self) -> None:
        if (self.generation is None) == (self.key is None):
            raise ValueError("give either generation or key")


class ConfigEdit(View, kw_only=True):
    """An edit of hub.toml: the whole *text*; or new values for keys, and keys to remove."""

    text: Annotated[str, Meta(max_length=1_000_000)] | None = None
    values: Annotated[dict[Key, Any], Meta(max_length=100, examples=[{"limits.runs": 40}])] = {}
    without: Annotated[tuple[Key, ...], Meta(max_length=100, examples=[["limits.run_files"]])] = ()

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.values and not self.without):
            raise ValueError("give either text, or values and without")


class ConfigText(ConfigEdit, kw_only=True):
    """A text, or an edit of hub.toml, to check. *folder*: base of a text's relative paths.

    By default that is the folder of hub.toml.
    """

    folder: Annotated[str, Meta(max_length=4_096, pattern=r"^/[^\x00]*$", examples=["/etc/hub"])] | None = (
        None
    )


class ConfigResource(Resource):
    """The settings of a running hub. A field is added, never renamed; a secret is shown by its reference."""

    name, path = "settings", "/v1"

    def __init__(self, reloader: Reloader, store: Store, node_id: NodeId) -> None:
        self.reloader = reloader
        self._node_id = node_id
        self._store = store

    @route("GET", "/config", Scope.SETTINGS)
    async def get(self, head: ResponseHead) -> SettingsView:
        """Return the settings in use, with the file's text and what sets each value."""
        reloader, shared = self.reloader, self.reloader.shared
        head.headers["etag"] = reloader.tag
        return SettingsView.from_row(
            reloader,
            file=str(reloader.path.absolute()),
            text=reloader.reading.text,
            settings=reloader.current.model_dump(mode="json", exclude_none=True),
            origins=self._origins(),
            refused=_views(reloader.refused),
            revision=None if shared is None or shared.text is None else shared.number,
        )

    @route("PATCH", "/config", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    @audited("settings.changed")
    async def edit(
        self,
        caller: Caller,
        edit: ConfigEdit,
        match: Match,
    ) -> ReloadView:
        """Edit hub.toml and apply it; comments and order stay. An edit that cannot apply is not written.

        Only a caller with all scopes of an admin changes a secret, a file or the address of the model.
        """
        done = await self.reloader.edit(
            Edit(text=edit.text, values=edit.values, without=edit.without),
            expected=match.tags,
            actor=caller.actor,
            may_all=caller.may_all,
        )
        match.set_tag(self.reloader.tag)
        return reload_view(done)

    @command(
        "config history [KEY]",
        example="hub config history limits.runs",
        json="config.history",
        help="List the changes of the settings, or of one setting, the newest first.\n\n"
        "Each has its old and new value, its author, and the generation of the settings with the new value. "
        "Secrets are shown as digests.",
        options={"limit": "--limit=50: Maximum number of changes."},
        rows="changes",
        table=(
            "generation",
            "at|at",
            "actor",
            "source as from?",
            "node|id as node?",
            "key as setting",
            "old|short",
            "new|short",
        ),
        empty="no changes are known",
    )
    @route("GET", "/config/history", Scope.SETTINGS, page="SettingsHistory.changes")
    async def history(
        self,
        paging: Paging,
        key: Annotated[str, Meta(max_length=300, description="Only this key: ``limits.runs``.")]
        | None = None,
    ) -> ListPage[SettingsChangeView]:
        """List the changes of the settings with their old and new values, the newest first, of all nodes."""
        part = paging.part
        rows, names = await self._store.read(
            audit.list_named_entries, limit=part.limit, after=part.after, event=CHANGED, subject=key
        )
        page = paging.fetched(rows, key=lambda row: (row.seq,))
        changes = (
            SettingsChangeView.from_row(
                _change(row),
                row,
                actor_name=names.get(row.actor),
                **{name: audit.read_detail(row.detail).get(name) for name in _ABOUT},
            )
            for row in page.items
            if row.actor != audit.ERASED
        )
        return ListPage(tuple(changes), page.next_cursor)

    @command(
        "config diff [SINCE] [UNTIL]",
        example="hub config diff 3 7",
        json="config.diff",
        help="Compare two generations of the settings.\n\n"
        "With one generation, compare it with the settings in use; without any, show the last change.",
        prints="changes|setting_changes",
        empty="no setting differs between generations {since} and {until}",
    )
    @route("GET", "/config/diff", Scope.SETTINGS)
    async def diff(
        self,
        since: Annotated[
            int, Meta(ge=0, le=2**53, description="A generation; by default the one before *until*.")
        ]
        | None = None,
        until: Annotated[int, Meta(ge=1, le=2**53, description="A generation; by default that in use.")]
        | None = None,
    ) -> ConfigDiffView:
        """Compare two generations of the settings of this node, key by key."""
        until = self.reloader.generation if until is None else until
        since = max(1, until - 1) if since is None else since
        changes = await self._between(since, until)
        return ConfigDiffView(
            since=since,
            until=until,
            changes=tuple(combined(changes)),
        )

    @route("POST", "/config/revert", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    @audited("settings.changed")
    async def revert(self, caller: Caller, revert: SettingsRevert, match: Match) -> ReloadView:
        """Write earlier values into hub.toml and apply them; comments and order stay.

        The values of a generation, or that of a key before its last change. This is a change, too, so it can
        be reverted. What no longer passes the checks is not written. Settings that nodes share are published
        anew instead.
        """
        if revert.key is not None:
            rows = await self._entries(CHANGED, ListPart(PAGE), key=revert.key)
            found = [_change(row) for row in rows if self._is_own(row) or _shared(row)][:1]
            if not found:
                raise CannotEdit(
                    f"no change of {revert.key} is known; the keys that changed: hub config history"
                )
        else:
            assert revert.generation is not None
            found = await self._between(revert.generation, self.reloader.generation)
        values, without = undone(combined(found))
        edit = Edit(values=values, without=without, source="revert")
        done = await self.reloader.edit(edit, expected=match.tags, actor=caller.actor, may_all=caller.may_all)
        match.set_tag(self.reloader.tag)
        return reload_view(done)

    async def _entries(self, event: str, part: ListPart, *, key: str | None = None) -> list[AuditRow]:
        return await self._store.read(
            audit.list_entries, limit=part.limit, after=part.after, event=event, subject=key
        )

    def _is_own(self, row: AuditRow) -> bool:
        """Return True if an entry is about settings of this node alone. Older entries name no node."""
        node = row.subject if row.event == APPLIED else audit.read_detail(row.detail).get("node")
        return node in (None, self._node_id) and not (row.event == CHANGED and _shared(row))

    async def _between(self, since: int, until: int) -> list[KeyChange]:
        """Return the changes of this node after generation *since*, up to *until*, the oldest first.

        A change of shared settings belongs to the generation at which this node followed their revision:
        that is later than the change, and has an entry of its own.

        Raises:
            CannotEdit: a generation does not exist.
        """
        if not since <= until <= self.reloader.generation:
            message = f"expected generations from 1 to {self.reloader.generation}, the older one first"
            raise CannotEdit(f"{message}, not {since} and {until}: hub config history")
        found: list[tuple[int, KeyChange]] = []  # with the number of the revision; 0: of this node alone
        shared = self.reloader.shared
        newest = shared.number if shared is not None and until == self.reloader.generation else None
        oldest, after, is_all = 0, None, False
        while not is_all and (rows := await self._entries("settings.", ListPart(PAGE, after))):
            for row in rows:
                generation, revision = audit.read_detail(row.detail).get("generation", 0), _shared(row)
                if row.event == APPLIED and self._is_own(row):
                    newest = revision if newest is None and generation <= until else newest
                    if generation <= since:
                        oldest, is_all = revision, revision >= (newest or 0)
                elif row.event != CHANGED:
                    continue
                elif revision or (self._is_own(row) and since < generation <= until):
                    found.append((revision, _change(row)))
            after = (rows[-1].seq,)
        return [
            change for number, change in reversed(found) if not number or oldest < number <= (newest or 0)
        ]

    @route("GET", "/config/schema", Scope.READ, is_whole=True, within=BY_ALL)
    async def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of hub.toml."""
        return settings_schema()

    @route("POST", "/config/check", Scope.SETTINGS)
    @audited(NO_CHANGE)
    async def check(self, caller: Caller, edit: ConfigText) -> ConfigCheckView:
        """List the problems of a text or an edit, and the changes if it were hub.toml. Changes nothing."""
        folder = None if edit.folder is None else Path(edit.folder)
        checked = Edit(text=edit.text, values=edit.values, without=edit.without)
        problems, changes = await self.reloader.check(checked, may_all=caller.may_all, folder=folder)
        return ConfigCheckView.from_row(
            changes,
            ok=all(problem.severity == "warning" for problem in problems),
            problems=_views(problems),
        )

    @route("POST", "/reload", Scope.SETTINGS, errors=[ErrorCode.BAD_SETTINGS])
    @audited("settings.applied")
    async def reload(
        self,
        actor: Actor,
        head: ResponseHead,
        wait: Annotated[bool, Meta(description="Of earlier releases; it has no effect.")] = True,
    ) -> ReloadView:
        """Apply hub.toml as it is now, all or nothing."""
        done = await self.reloader.reload(actor=actor)
        head.headers["etag"] = self.reloader.tag
        return reload_view(done)

    def _origins(self) -> dict[str, str]:
        """Return what sets each key that has a value. Keys of an agent have its name."""
        places = self.reloader.reading.places
        assert places is not None
        settings = self.reloader.current.model_dump(mode="json", exclude_none=True)
        found = ((spell(path, places.doc), places.origin(path)) for path in _paths(settings))
        return {key: str(place) for key, place in found if place is not None}


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of each value that is no table, and of an agent's schedule."""
    match value:
        case dict():
            if path[:1] == ("agents",) and len(path) > 2:
                yield path  # a schedule may be abbreviated to a text
            for name, inner in value.items():
                yield from _paths(inner, (*path, name))
        case [{"name": _}, *_]:
            for number, entry in enumerate(value):
                yield from _paths(entry, (*path, number))
        case _:
            yield path


_ABOUT: Final = ("generation", "source", "node", "revision")  # details of each change


def _shared(row: AuditRow) -> int:
    """Return the revision of the shared settings in an entry; 0 without one."""
    revision: int = audit.read_detail(row.detail).get("revision", 0)
    return revision


def _change(row: AuditRow) -> KeyChange:
    detail = audit.read_detail(row.detail)
    return KeyChange(row.subject or "", detail.get("old"), detail.get("new"))


def reload_view(done: ReloadResult) -> ReloadView:
    """Return the view of applied settings."""
    return ReloadView.from_row(done.changes, done, warnings=_views(done.warnings))


def _views(problems: Sequence[SettingsProblem]) -> tuple[ProblemView, ...]:
    return tuple(map(ProblemView.from_row, problems))


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


class RevisionsResource(Resource):
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
    async def all(self, part: ListPart = ALL) -> list[RevisionView]:
        """List the revisions of the settings that all nodes share, the newest first."""
        rows = await self._store.read(
            devices_settings_revisions.list_revisions, limit=part.limit, after=part.after
        )
        return [_revision(row, text=None) for row in rows]

    @route("GET", "/{number}", Scope.SETTINGS, errors=[ErrorCode.UNKNOWN_NAME])
    async def get(self, number: Annotated[int, Meta(ge=1, le=2**53)], head: ResponseHead) -> RevisionView:
        """Return a revision of the shared settings with its text."""
        head.headers["etag"] = revision_tag(number)
        return _revision(await self._store.read(devices_settings_revisions.find_revision, number))

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
            text = (await self._store.read(devices_settings_revisions.find_revision, push.revision)).text
        done = await self._reloader.publish(
            text, name=push.name, actor=caller.actor, expected=match.tags, archives=push.archive
        )
        match.set_tag(revision_tag(done.revision))
        return PublishedView.from_row(reload_view(done), revision=done.revision)


def _revision(row: SettingsRevision, **own: None) -> RevisionView:
    return RevisionView.from_row(row, tables=tuple(document(row.text or "")), **own)
