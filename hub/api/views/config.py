"""What the operator's side is told of the settings, and what it may want of them.

As in ``api.views.view``: a field is added, never renamed. A secret is told by its
reference, never by its value.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hub.api.views.view import View

Key = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class ProblemView(View):
    """One line of ``hub check``. *line* and *column* count from 1; 0: *file* is what goes before the file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"


class ConfigView(View):
    """The settings of a hub.

    Attributes:
        generation: grows with each change that was taken up.
        tag: for ``If-Match``, the same as ``ETag``.
        file: where they come from.
        text: the file as it was taken up.
        settings: every value in use, defaults too; secrets as references.
        origins: of each key with a value that is not the default, where that was given.
        waiting: keys whose values wait for a restart.
        refused: what was wrong with the file at the last look; empty: it was taken up.
        on_last_good: the file was broken at the start; these settings are those that were good last.
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


class ReloadView(View):
    """What was taken up: keys that changed, by when their values are used.

    Attributes:
        live: at once.
        reconnect: by connections made from now on.
        restart: after the next start; also what has waited for that since an earlier reload.
        archived: agents that hub.toml names no more.
    """

    generation: int
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    warnings: tuple[ProblemView, ...] = ()


class ConfigCheckView(View):
    """What would be wrong with a text, and what would change if hub.toml said it."""

    ok: bool
    problems: tuple[ProblemView, ...] = ()
    live: tuple[str, ...] = ()
    reconnect: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


class ConfigText(View):
    """What hub.toml might say. *folder*: where relative paths in it begin, if not beside hub.toml."""

    text: Annotated[str, StringConstraints(max_length=1_000_000)]
    folder: Annotated[str | None, Field(max_length=4_096, pattern=r"^/[^\x00]*$", examples=["/etc/hub"])] = (
        None
    )


class ConfigEdit(View):
    """An edit of hub.toml: the whole *text*; or new values for keys, and keys to leave out."""

    text: Annotated[str, StringConstraints(max_length=1_000_000)] | None = None
    values: Annotated[
        dict[Key, Any], Field(default_factory=dict, max_length=100, examples=[{"limits.runs": 40}])
    ]
    without: Annotated[tuple[Key, ...], Field(max_length=100, examples=[["limits.call_sends"]])] = ()

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> Self:
        if (self.text is None) == (not self.values and not self.without):
            raise ValueError("give either text, or values and without")
        return self
