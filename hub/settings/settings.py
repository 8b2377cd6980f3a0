"""Tree of all tables of hub.toml.

Each table is a separate model; ``hub.settings.reading`` creates this tree from a file and reports all
problems. Only the daemon and the CLI read settings: all other code takes plain arguments with units in their
names.
"""

from hub.settings.agent_settings import AgentSettings
from hub.settings.audit_settings import AuditSettings
from hub.settings.backup_settings import BackupSettings
from hub.settings.budget_settings import BudgetSettings
from hub.settings.connector_settings import Connectors
from hub.settings.gateway_settings import CoordinationSettings, Gateways
from hub.settings.limit_settings import Limits
from hub.settings.listen_settings import Listen
from hub.settings.log_settings import LogSettings
from hub.settings.model_settings import ModelSettings
from hub.settings.outbound_settings import OutboundSettings
from hub.settings.plugin_settings import PluginSettings
from hub.settings.redaction_settings import RedactionSettings
from hub.settings.reload_policy import live, restart
from hub.settings.reload_settings import ReloadSettings
from hub.settings.retention_settings import RetentionSettings
from hub.settings.storage_settings import StorageSettings
from hub.settings.template_settings import TemplateSettings
from hub.settings.values import Name, Table


class HubSettings(Table):
    """``[hub]``: what people call this hub."""

    name: Name = restart("home", "What people call this hub.")


class Settings(Table):
    """Complete settings of hub.toml."""

    hub: HubSettings = HubSettings()
    listen: Listen = Listen()
    storage: StorageSettings = StorageSettings()
    model: ModelSettings | None = restart(None, "What finds items in plain text; without one, rules alone.")
    fallback_models: tuple[ModelSettings, ...] = restart(
        (), "Who is asked, in this order, when the model gives no answer or has no quota left."
    )
    agents: tuple[AgentSettings, ...] = live((), "What to read on which device, and what to find in it.")
    templates: tuple[TemplateSettings, ...] = live((), "What agents of one kind have in common.")
    gateways: Gateways = live((), "OpenClaw gateways, through which agents and people are reached.")
    connectors: Connectors = live((), "Mailboxes and the like, which agents read instead of files.")
    coordination: CoordinationSettings = CoordinationSettings()
    budget: BudgetSettings = BudgetSettings()
    redaction: RedactionSettings = RedactionSettings()
    plugins: PluginSettings = PluginSettings()
    limits: Limits = Limits()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    reload: ReloadSettings = ReloadSettings()
    outbound: OutboundSettings = OutboundSettings()
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
