"""Accounts built from the connector settings: secrets, configuration, HTTP client and its limits."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from hub.accounts.connector_accounts import Accounts, waiting_posts
from hub.accounts.grants import AccountConfig
from hub.accounts.sealing_keys import KeyStore
from hub.app.boot import HubContext
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.toml.values import SecretMissing, SecretRef
from hub.connectors.calling import MAX_ANSWER_BYTES, SignInNeeded
from hub.connectors.catalogue import UnknownProvider, find
from hub.settings.connector_settings import ConnectorSettings
from hub.settings.reload import Commit, Unfit
from hub.settings.settings import Settings
from storage.connectors.connectors import ConnectorRow

CONNECTIONS = 32  # of all connectors together, over HTTP


def prepare_connectors(accounts: Accounts, settings: Settings) -> Commit:
    """Resolve every secret of the connectors, even if unchanged; the accounts have them with the commit.

    Raises:
        Unfit: a secret does not exist; nothing was changed.
    """
    configs = []
    for number, connector in enumerate(settings.connectors):
        for key in ("secret", "previous_secret", "client_secret"):
            reference = getattr(connector, key)
            try:
                if reference is not None:
                    reference.resolve()
            except SecretMissing as error:
                raise Unfit(("connectors", number, key), str(error)) from error
        config = config_of(connector, settings)
        if config is not None:
            configs.append(config)
    return partial(accounts.apply, configs)


def config_of(connector: ConnectorSettings, settings: Settings) -> AccountConfig | None:
    """Return the account's configuration, or None if its plug-in cannot be loaded, as its row shows."""
    try:
        kind = find(connector.provider, settings.plugins.connectors, connector.settings, connector.folder)
    except UnknownProvider:
        return None
    return AccountConfig(
        name=connector.name,
        provider=connector.provider,
        kind=kind,
        settings=kind.settings_model.model_validate(connector.settings, context={"base": connector.folder}),
        secret=_secret_source(connector.secret),
        previous_secret=_secret_source(connector.previous_secret),
        client_id=connector.client_id,
        client_secret=_secret_source(connector.client_secret),
    )


def _secret_source(reference: SecretRef | None) -> Callable[[], str] | None:
    return None if reference is None else partial(_looked_up, reference)


def _looked_up(reference: SecretRef) -> str:
    try:
        return reference.resolve()
    except SecretMissing as error:
        raise SignInNeeded(str(error)) from error


async def make_accounts(
    context: HubContext, resources: AsyncExitStack, *, on_change: Callable[[ConnectorRow], object]
) -> Accounts:
    """Create the accounts of this hub with an HTTP client of their own.

    Args:
        resources: closes the client.
        on_change: called with each connector that starts or stops waiting for a person.
    """
    client = OutboundClient(
        OutboundRules.parse(context.settings.outbound.allow),
        connections=CONNECTIONS,
        max_answer_bytes=MAX_ANSWER_BYTES,
    )
    await resources.enter_async_context(client)
    return Accounts(
        context.store,
        client=client,
        keys=KeyStore(context.state, chance=context.chance, environ=os.environ, node_id=context.node.id),
        clock=context.clock,
        chance=context.chance,
        ids=context.ids,
        owner=context.boot_id,
        on_change=on_change,
        inbox=lambda connector_id: partial(waiting_posts, context.store, context.clock, connector_id),
    )
