"""Listener for webhooks, which exists if hub.toml has ``[listen.webhooks]``."""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hub.api.door.hooks import Hook, Hooks, HookServer, NewsDesk
from hub.app.context import Context
from hub.app.limits import trusted_proxies
from hub.connectors.webhook import WebhookSettings, problem_of
from hub.links.gate import Gate, PortLimits
from hub.links.hosts import Hosts
from hub.settings.agent_settings import ConnectorSettings
from hub.settings.limit_settings import Listener
from hub.settings.reload import Commit, Unfit
from hub.settings.secret import SecretMissing
from hub.settings.settings import Settings
from storage.runs import posted

CONNECTIONS: Final = 128  # four times the posts at once, as senders keep connections open
CONNECTIONS_PER_NETWORK: Final = 64  # a sender's posts may all come from one address
_ANY: Final = 1_000_000  # connections at once; senders may deliver all postponed posts together


class HooksInUse:
    """Listener for webhooks and its settings.

    Signing secrets are resolved at the start and at each reload, not for each post. So a stranger cannot make
    the hub open files, and cannot detect existing webhooks by timing.
    """

    def __init__(
        self,
        context: Context,
        listen: Listener,
        *,
        tls: ssl.SSLContext | None,
        on_news: Callable[[str], Awaitable[None]],
    ) -> None:
        self._opened = listen
        desk = NewsDesk(context.store, on_news)
        hooks = Hooks(
            context.store,
            clock=context.clock,
            ids=context.ids,
            metrics=context.metrics,
            news=desk.news,
            hosts=hook_hosts(listen),
            proxies=trusted_proxies(listen, opened=listen),
        )
        gate = Gate(hook_port_limits(), clock=context.clock, metrics=context.metrics, prefix="webhook_")
        self.server = HookServer(
            hooks,
            desk,
            address=listen.address,
            gate=gate,
            tls=tls,
            on_refusal=lambda code: context.metrics.webhook_refusals.labels(code).inc(),
            loop=context.metrics.loop,
            clock=context.clock,
        )

    def prepare(self, settings: Settings) -> Commit:
        """Resolve every secret.

        Raises:
            Unfit: a secret does not exist or is unsuitable; nothing was changed.
        """
        hooks = [
            _hook(number, one)
            for number, one in enumerate(settings.connectors)
            if one.provider == posted.PROVIDER
        ]
        return partial(self._use, settings, hooks)

    def _use(self, settings: Settings, hooks: list[Hook]) -> None:
        server = self.server
        server.hooks.use(hooks)
        server.hooks.body_bytes = settings.limits.posted_bytes
        # If the table was removed, the listener closes at the next start.
        if (listen := settings.listen.webhooks) is not None:
            server.apply(hosts=hook_hosts(listen), proxies=trusted_proxies(listen, opened=self._opened))


def hook_hosts(listen: Listener) -> Hosts:
    """Return the host names by which others may post."""
    return Hosts((listen.address.host, *listen.hosts))


def hook_port_limits() -> PortLimits:
    """Return the limits of connections; every client counts as a stranger until its post is verified."""
    return PortLimits(
        connections=CONNECTIONS,
        connections_per_network=CONNECTIONS_PER_NETWORK,
        strangers=CONNECTIONS,
        strangers_per_network=CONNECTIONS_PER_NETWORK,
        new_at_once=_ANY,
        new_per_s=_ANY,
    )


def _hook(number: int, one: ConnectorSettings) -> Hook:
    settings = WebhookSettings.model_validate(one.settings)
    secrets = []
    for key in ("secret", "previous_secret"):
        reference = getattr(one, key)
        if reference is None:
            continue
        try:
            secret = reference.resolve()
        except SecretMissing as error:
            raise Unfit(("connectors", number, key), str(error)) from error
        if (problem := problem_of(settings.source, secret)) is not None:
            raise Unfit(("connectors", number, key), problem)
        secrets.append(secret)
    return Hook(one.name, settings.source, tuple(secrets))
