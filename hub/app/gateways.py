"""The gateways of hub.toml as their clients take them: each secret is looked up, and none is kept here."""

from collections.abc import Callable
from functools import partial

from hub.openclaw import BadAddress, Fleet, GatewayAddress, GatewayConfig
from hub.settings.gateway_settings import GatewaySettings
from hub.settings.parts import Commit
from hub.settings.reload import Unfit
from hub.settings.secret import SecretMissing
from hub.settings.settings import Settings


class GatewaySettingsInUse:
    """Hands the gateways of the settings to the fleet, at the start and with each reload.

    Args:
        applied: is told when the fleet has been.
    """

    def __init__(self, fleet: Fleet, applied: Callable[[], None] = lambda: None) -> None:
        self._fleet = fleet
        self._applied = applied
        self._in_use: dict[str, GatewayConfig] = {}

    def prepare(self, settings: Settings) -> Commit:
        """Look up every token, changed or not.

        Raises:
            Unfit: one is not there; nothing was changed.
        """
        configs = []
        for number, gateway in enumerate(settings.gateways):
            try:
                config = config_of(gateway)
                GatewayAddress.parse(config.url)
                configs.append(config)
            except SecretMissing as error:
                raise Unfit(("gateways", number, "token"), str(error)) from error
            except BadAddress as error:
                raise Unfit(("gateways", number, "url"), str(error)) from error
        return partial(self._use, configs)

    def renewed(self, settings: Settings) -> list[str]:
        """``gateways``, where a token that is written as before leads to another one than is in use."""
        found = (config_of(gateway) for gateway in settings.gateways if gateway.name in self._in_use)
        is_new = any(one.token != self._in_use[one.name].token for one in found)
        return ["gateways"] if is_new else []

    def _use(self, configs: list[GatewayConfig]) -> None:
        self._fleet.apply(configs)
        self._in_use = {config.name: config for config in configs}
        self._applied()


def config_of(gateway: GatewaySettings) -> GatewayConfig:
    """A gateway as its client takes it.

    Raises:
        SecretMissing: its token is not where it should be.
    """
    return GatewayConfig(
        name=gateway.name,
        url=gateway.url,
        token=None if gateway.token is None else gateway.token.resolve(),
        has_device=gateway.device_identity,
    )
