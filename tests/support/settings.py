"""A settings file with what takes it up, in a folder of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio

from hub.base.metrics import Metrics
from hub.settings.edits import Revision
from hub.settings.reading import OpenedSettings, SettingsFile, Shared, open_settings
from hub.settings.reload import ChangedKeys, Commit, Parts, Reloader, Remark
from hub.settings.settings import Settings
from protocol.errors import HubError
from tests.support.clock import FakeClock

Check = Callable[..., list[str]]  # of a text: its problems
WITHIN_S = 30.0
TEXT = """\
# my hub
[hub]
name = "home"    # where I live

[limits]
runs = 4         # at once
"""


class Hub:
    """What stands behind a reloader: it remembers what it works with, and fails where it is told to."""

    def __init__(self) -> None:
        self.in_use: list[Settings] = []  # what was taken up, one after the other
        self.agents: list[str] = []
        self.told: list[tuple[str, str]] = []  # who, and what the audit log would say
        self._news = anyio.Event()
        self.cannot_prepare: HubError | None = None
        self.cannot_reconcile: HubError | None = None
        self.remarks: list[Remark] = []
        self.renewed: list[str] = []
        self.audited: list[ChangedKeys] = []
        self.revisions: list[Revision] = []
        self.newest: Shared | None = None  # revision in the database
        self.lags: list[str] = []  # why a revision is not used
        self.attempts = 0  # that were told to be over
        self.before_reconcile: Callable[[], None] = lambda: None

    def parts(self) -> Parts:
        return Parts(
            prepare=self._prepare,
            reconcile=self._reconcile,
            record_refused=self._tell_refused,
            record=self._record,
            remark=self._remark,
            validate=self._validate,
            renewed=lambda settings: self.renewed,
            after=self._count,
            newest=self._newest,
            lag=self._lag,
        )

    async def _newest(self, known: int | None) -> Shared | None:
        newest = self.newest
        return None if newest is None or newest.number == known else newest

    async def _lag(self, why: str) -> None:
        self.lags.append(why)

    async def _remark(self, settings: Settings) -> list[Remark]:
        return self.remarks

    async def _validate(self, settings: Settings) -> None:
        if self.cannot_reconcile is not None:
            raise self.cannot_reconcile

    def _count(self) -> None:
        self.attempts += 1

    def _prepare(self, settings: Settings) -> Commit:
        if self.cannot_prepare is not None:
            raise self.cannot_prepare
        return partial(self.in_use.append, settings)

    async def _reconcile(
        self, settings: Settings, actor: str, found: ChangedKeys, revision: Revision
    ) -> None:
        self.before_reconcile()
        if self.cannot_reconcile is not None:
            raise self.cannot_reconcile
        self.agents = [agent.name for agent in settings.agents]
        self.audited.append(found)
        self.revisions.append(revision)
        self._tell(actor, "applied")

    async def _record(self, revision: Revision) -> bool:
        self.revisions.append(revision)
        return True

    async def _tell_refused(self, actor: str, why: str) -> None:
        self._tell(actor, why)

    def _tell(self, actor: str, what: str) -> None:
        self.told.append((actor, what))
        self._news.set()
        self._news = anyio.Event()

    async def hears(self, *told: tuple[str, str]) -> None:
        """Wait until it was told this, and nothing else."""
        with anyio.fail_after(WITHIN_S):
            while len(self.told) < len(told):
                await self._news.wait()
        assert self.told == list(told)


class SettingsBench:
    """A reloader over ``hub.toml`` in *folder*, whose state lies in ``state`` there."""

    def __init__(self, folder: Path, text: str = TEXT, **environ: str) -> None:
        self.path = folder / "hub.toml"
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.path.write_text(text)
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.hub = Hub()
        self.file = SettingsFile(self.path, environ=environ, clock=self.clock)
        self.reloader = Reloader(self.opened(), state=self.state, clock=self.clock)
        self.reloader.attach(self.hub.parts(), self.metrics)

    def opened(self, *, strict: bool = False) -> OpenedSettings:
        """What a start would use now."""
        return open_settings(self.file, self.state, strict=strict)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process can grow beyond *size* bytes: as if the disk were full."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
