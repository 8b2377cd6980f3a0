"""A notifier over a store of its own, with the time by hand."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa

from hub.base.metrics import Metrics
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.notify_targets import NotifySettings
from hub.notify.notifier import EVERY_S, Notifier
from protocol.ids import BootId, UserId
from storage import deliveries
from storage.deliveries import DeliveryRow, TargetRow
from storage.devices import users
from storage.schema import questions
from storage.store import Store, open_store
from tests.support.clock import FakeClock, SeededChance

KEY: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE_KEY: Final = "whsk_" + "A" * 43 + "="
PATIENCE_S: Final = 30.0
OWNER: Final = UserId("me")


class Bench:
    """A notifier whose targets are served in the block."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        clock: FakeClock,
        boot: str,
        allow: Sequence[str],
        pages: str | None,
    ) -> None:
        self.store, self.clock, self.metrics = store, clock, Metrics()
        self._folder = folder
        self.notifier = Notifier(
            store,
            hub="home",
            rules=OutboundRules.parse(allow),
            boot_id=BootId(boot),
            clock=clock,
            chance=SeededChance(),
            metrics=self.metrics,
            pages=lambda: pages,
        )

    def secret(self, text: str = KEY) -> dict[str, str]:
        """A reference to a file with a secret."""
        file = self._folder / f"{abs(hash(text))}.secret"
        file.write_text(text)
        return {"file": str(file)}

    def target(self, url: str, *, secret: str = KEY, **about: Any) -> NotifySettings:
        named = {"name": "ops", "kind": "webhook", "url": url} | (
            {"secret": self.secret(secret)} if secret else {}
        )
        return NotifySettings.model_validate(named | about)

    async def ask(self, *ids: str) -> None:
        """Write questions, of which each is an event."""
        at = int(self.clock.now().timestamp() * 1_000)
        common = {"actor": "agent:a", "content": "Which colour?", "reply_source": "x", "trace_id": "0" * 32}
        row = {"user_id": OWNER, "created_at": at, "expires_at": at + 1} | common

        def write(c: sa.Connection) -> None:
            c.execute(sa.insert(questions), [{"id": id} | row for id in ids])

        await self.store.write(write)

    async def until(self, is_done: Callable[[], bool], *, every_s: float = EVERY_S) -> None:
        """Let time pass, *every_s* at once, until a condition holds."""
        with anyio.fail_after(PATIENCE_S):
            while not is_done():
                self.clock.advance(every_s)
                await self.clock.pass_time(0)

    async def target_row(self, name: str = "ops") -> TargetRow:
        row = await self.store.read(deliveries.find_target, name)
        assert row is not None
        return row

    async def rows(self, name: str = "ops") -> list[DeliveryRow]:
        """The deliveries, the oldest first."""
        return (await self.store.read(deliveries.list_deliveries, name))[::-1]

    @asynccontextmanager
    async def serving(self, *targets: NotifySettings) -> AsyncIterator[None]:
        """Serve targets in the block, whose rows are there by then."""
        self.notifier.apply(targets)
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.notifier.serve)
            await self.clock.pass_time(0)
            yield
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    database: str = "sqlite://",
    boot: str = "boot-1",
    clock: FakeClock | None = None,
    allow: Sequence[str] = (),
    pages: str | None = None,
) -> AsyncIterator[Bench]:
    async with open_store(database, boot_id=BootId(boot)) as store:
        await store.write(users.ensure_user, OWNER, "me", 1)
        yield Bench(store, folder, clock or FakeClock(), boot, allow, pages)


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))
