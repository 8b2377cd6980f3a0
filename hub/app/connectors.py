"""Connector accounts from hub.toml; a secret is resolved at each use and not stored."""

import os
from contextlib import AsyncExitStack
from functools import partial

from hub.accounts.desk import AccountConfig, Accounts, PostedInbox
from hub.accounts.keys import KeyStore
from hub.accounts.sign_in import SignIns
from hub.app.boot import Context
from hub.connectors.calling import MOST_ANSWER_BYTES, SignInNeeded
from hub.connectors.connector import UnknownProvider, find
from hub.links.roster import Roster
from hub.outbound.client import OutboundClient
from hub.outbound.rules import OutboundRules
from hub.settings.agent_settings import ConnectorSettings
from hub.settings.reload import Commit, Unfit
from hub.settings.secret import SecretMissing, SecretRef
from hub.settings.settings import Settings

CONNECTIONS = 32  # of all connectors together, over HTTP


class ConnectorsInUse:
    """Transfer of the connectors in the settings to the accounts, at the start and at each reload."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def prepare(self, settings: Settings) -> Commit:
        """Resolve every secret, even if unchanged.

        Raises:
            Unfit: a secret does not exist; nothing was changed.
        """
        configs = []
        for number, one in enumerate(settings.connectors):
            for key in ("secret", "previous_secret", "client_secret"):
                reference = getattr(one, key)
                try:
                    if reference is not None:
                        reference.resolve()
                except SecretMissing as error:
                    raise Unfit(("connectors", number, key), str(error)) from error
            config = config_of(one, settings)
            if config is not None:
                configs.append(config)
        return partial(self._accounts.apply, configs)


def config_of(one: ConnectorSettings, settings: Settings) -> AccountConfig | None:
    """Return the account's configuration, or None if its plug-in cannot be loaded, as its row shows."""
    try:
        kind = find(one.provider, settings.plugins.connectors)
    except UnknownProvider:
        return None
    return AccountConfig(
        name=one.name,
        provider=one.provider,
        kind=kind,
        settings=kind.settings_model.model_validate(one.settings, context={"base": one.folder}),
        secret=None if one.secret is None else partial(_looked_up, one.secret),
        previous_secret=None if one.previous_secret is None else partial(_looked_up, one.previous_secret),
        client_id=one.client_id,
        client_secret=None if one.client_secret is None else partial(_looked_up, one.client_secret),
    )


def _looked_up(reference: SecretRef) -> str:
    try:
        return reference.resolve()
    except SecretMissing as error:
        raise SignInNeeded(str(error)) from error


async def make_accounts(context: Context, resources: AsyncExitStack) -> Accounts:
    """Create the accounts of this hub with an HTTP client of their own."""
    client = OutboundClient(
        OutboundRules.parse(context.settings.outbound.allow),
        connections=CONNECTIONS,
        max_answer_bytes=MOST_ANSWER_BYTES,
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
        inbox=partial(PostedInbox, context.store, clock=context.clock),
    )


def make_sign_ins(context: Context, accounts: Accounts, roster: Roster) -> SignIns:
    """Create the service for sign-ins, which uses the browsers of connected devices."""
    return SignIns(
        accounts,
        context.store,
        clock=context.clock,
        chance=context.chance,
        ids=context.ids,
        links=roster.connected,
    )
