"""Gateway clients' configurations from hub.toml; a secret is resolved, but not stored here."""

from collections.abc import Callable
from functools import partial

from hub.openclaw import BadAddress, Fleet, GatewayAddress, GatewayConfig
from hub.settings.gateway_settings import GatewaySettings
from hub.settings.reload import Commit, Unfit
from hub.settings.secret import SecretMissing
from hub.settings.settings import Settings


class GatewaySettingsInUse:
    """Transfer of the gateways in the settings to the fleet, at the start and at each reload.

    Args:
        applied: called after the fleet has changed.
    """

    def __init__(self, fleet: Fleet, applied: Callable[[], None] = lambda: None) -> None:
        self._fleet = fleet
        self._applied = applied
        self._in_use: dict[str, GatewayConfig] = {}

    def prepare(self, settings: Settings) -> Commit:
        """Resolve every token, even if unchanged.

        Raises:
            Unfit: a token does not exist, or a URL is invalid; nothing was changed.
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
        """Return ``gateways`` if an unchanged reference resolves to another token than the one in use."""
        found = (config_of(gateway) for gateway in settings.gateways if gateway.name in self._in_use)
        is_new = any(one.token != self._in_use[one.name].token for one in found)
        return ["gateways"] if is_new else []

    def _use(self, configs: list[GatewayConfig]) -> None:
        self._fleet.apply(configs)
        self._in_use = {config.name: config for config in configs}
        self._applied()


def config_of(gateway: GatewaySettings) -> GatewayConfig:
    """Return the configuration of a gateway's client.

    Raises:
        SecretMissing: its token does not exist.
    """
    return GatewayConfig(
        name=gateway.name,
        url=gateway.url,
        token=None if gateway.token is None else gateway.token.resolve(),
        has_device=gateway.device_identity,
    )
