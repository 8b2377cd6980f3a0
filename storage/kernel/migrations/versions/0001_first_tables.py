"""The tables of the first release.

The statements are written for PostgreSQL, with ``STRICT`` and ``WITHOUT ROWID`` for SQLite. A released
revision is never edited.
"""

import re

from alembic import op

revision = "0001"
down_revision = None

_ON_SQLITE = {
    "BIGINT": "INTEGER",
    "BOOLEAN": "INTEGER",
    "BYTEA": "BLOB",
    "DOUBLE PRECISION": "REAL",
    "JSONB": "TEXT",
    "DEFAULT false": "DEFAULT 0",
    "DEFAULT true": "DEFAULT 1",
}
_ONLY_ON_SQLITE = re.compile(r",\s+CONSTRAINT \w+ CHECK \(\w+ IN \(0, 1\)\)|(?<=\n\))[\w ,]+$")


def upgrade() -> None:
    connection = op.get_bind()
    for statement in TABLES.strip().removesuffix(";").split(";\n"):
        connection.exec_driver_sql(
            re.sub("|".join(_ON_SQLITE), lambda found: _ON_SQLITE[found[0]], _checked(statement))
            if connection.dialect.name == "sqlite"
            else _ONLY_ON_SQLITE.sub("", statement)
        )


def _checked(statement: str) -> str:
    """Return a statement for SQLite, where a constraint checks that a column is JSON."""
    table = statement.removeprefix("CREATE TABLE ").partition(" ")[0]
    checks = [
        f",\n    CONSTRAINT ck_{table}_{column}_json CHECK ({column} IS NULL OR json_valid({column}))"
        for column in re.findall(r"(\w+) JSONB", statement)
    ]
    head, end, rest = statement.rpartition("\n)")
    return f"{head}{''.join(checks)}{end}{rest}"


TABLES = """
CREATE TABLE activity_log (
    id TEXT NOT NULL, at BIGINT NOT NULL, event_type TEXT NOT NULL, level TEXT DEFAULT 'info' NOT NULL,
    agent_id TEXT, run_id TEXT, device_id TEXT, actor TEXT NOT NULL, trace_id TEXT, message TEXT NOT NULL,
    data JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_activity_log PRIMARY KEY (id),
    CONSTRAINT ck_activity_log_level CHECK (level IN ('debug', 'info', 'warning', 'error'))
) STRICT;
CREATE INDEX activity_log_agent ON activity_log (agent_id, at);
CREATE INDEX activity_log_at ON activity_log (at);
CREATE TABLE agent_templates (
    id TEXT NOT NULL, name TEXT NOT NULL, description TEXT, agent_type TEXT DEFAULT 'CUSTOM' NOT NULL,
    subtype TEXT, configuration_schema JSONB DEFAULT '{}' NOT NULL,
    default_configuration JSONB DEFAULT '{}' NOT NULL, prompt_template TEXT,
    source TEXT DEFAULT 'api' NOT NULL, version BIGINT DEFAULT 1 NOT NULL, created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_agent_templates PRIMARY KEY (id),
    CONSTRAINT ck_agent_templates_agent_type CHECK (agent_type IN ('COORDINATOR', 'ASSISTANT', 'RESEARCHER',
        'DEVELOPER', 'DESIGNER', 'SPECIALIST', 'AUDITOR', 'CUSTOM')),
    CONSTRAINT ck_agent_templates_subtype CHECK (subtype IS NULL OR subtype IN ('PLANNER', 'REVIEWER',
        'MANAGER', 'TOOL_CURATOR', 'DEPLOYMENT')),
    CONSTRAINT ck_agent_templates_source CHECK (source IN ('file', 'api')),
    CONSTRAINT uq_agent_templates_name UNIQUE (name)
) STRICT;
CREATE TABLE audit_log (
    seq BIGINT NOT NULL, at BIGINT NOT NULL, actor TEXT NOT NULL, event TEXT NOT NULL, subject TEXT,
    outcome TEXT NOT NULL, detail TEXT NOT NULL, prev_hash BYTEA NOT NULL, hash BYTEA NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (seq),
    CONSTRAINT ck_audit_log_outcome CHECK (outcome IN ('done', 'refused'))
) STRICT;
CREATE INDEX audit_log_at ON audit_log (at);
CREATE TABLE hub (
    key TEXT NOT NULL, value TEXT NOT NULL,
    CONSTRAINT pk_hub PRIMARY KEY ("key")
) WITHOUT ROWID, STRICT;
CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL, response JSONB,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (scope, "key")
) WITHOUT ROWID, STRICT;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
CREATE TABLE leases (
    name TEXT NOT NULL, holder_boot_id TEXT, fence BIGINT DEFAULT 0 NOT NULL, acquired_at BIGINT,
    expires_at BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_leases PRIMARY KEY (name),
    CONSTRAINT ck_leases_fence CHECK (fence >= 0)
) WITHOUT ROWID, STRICT;
CREATE TABLE nodes (
    id TEXT NOT NULL, boot_id TEXT NOT NULL, started_at BIGINT NOT NULL, seen_at BIGINT NOT NULL,
    stopped_at BIGINT, boots_10min BIGINT DEFAULT 1 NOT NULL,
    CONSTRAINT pk_nodes PRIMARY KEY (id),
    CONSTRAINT uq_nodes_boot_id UNIQUE (boot_id)
) STRICT;
CREATE TABLE users (
    id TEXT NOT NULL, name TEXT NOT NULL, created_at BIGINT NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (id)
) STRICT;
CREATE UNIQUE INDEX users_one_name ON users (name);
CREATE TABLE broadcasts (
    id TEXT NOT NULL, user_id TEXT NOT NULL, gateway_id TEXT, kind TEXT NOT NULL, content TEXT NOT NULL,
    from_agent_id TEXT, actor TEXT NOT NULL, correlation_id TEXT, reply_tags JSONB DEFAULT '[]' NOT NULL,
    reply_source TEXT, trace_id TEXT NOT NULL, refused JSONB DEFAULT '[]' NOT NULL, dedupe_key TEXT,
    boards BIGINT NOT NULL, rounds BIGINT DEFAULT 1 NOT NULL, created_at BIGINT NOT NULL, settled_at BIGINT,
    CONSTRAINT pk_broadcasts PRIMARY KEY (id),
    CONSTRAINT ck_broadcasts_kind CHECK (kind IN ('question', 'handoff')),
    CONSTRAINT ck_broadcasts_counts CHECK (boards >= 0 AND rounds >= 1),
    CONSTRAINT fk_broadcasts_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT uq_broadcasts_dedupe_key UNIQUE (dedupe_key)
) STRICT;
CREATE INDEX broadcasts_by_age ON broadcasts (created_at, id);
CREATE INDEX broadcasts_open ON broadcasts (id) WHERE settled_at IS NULL;
CREATE INDEX broadcasts_settled ON broadcasts (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX broadcasts_user ON broadcasts (user_id, created_at);
CREATE TABLE connectors (
    id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, provider TEXT NOT NULL,
    origin TEXT DEFAULT '' NOT NULL, settings_digest TEXT DEFAULT '' NOT NULL, account TEXT,
    state TEXT DEFAULT 'ok' NOT NULL, reason TEXT, detail TEXT, version BIGINT DEFAULT 1 NOT NULL,
    failures BIGINT DEFAULT 0 NOT NULL, retry_at BIGINT, last_ok_at BIGINT, created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL, deleted_at BIGINT,
    CONSTRAINT pk_connectors PRIMARY KEY (id),
    CONSTRAINT ck_connectors_state CHECK (state IN ('ok', 'sign_in', 'blocked')),
    CONSTRAINT fk_connectors_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT uq_connectors_name UNIQUE (name)
) STRICT;
CREATE TABLE devices (
    id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, platform TEXT,
    max_concurrent_runs BIGINT DEFAULT 1 NOT NULL, connectivity TEXT DEFAULT 'offline' NOT NULL, node_id
        TEXT,
    session_epoch BIGINT DEFAULT 0 NOT NULL, last_seen_at BIGINT, revoked_at BIGINT,
    created_at BIGINT NOT NULL, grants JSONB DEFAULT '["files", "agents", "coordination"]' NOT NULL,
    CONSTRAINT pk_devices PRIMARY KEY (id),
    CONSTRAINT ck_devices_max_concurrent_runs CHECK (max_concurrent_runs BETWEEN 1 AND 64),
    CONSTRAINT ck_devices_connectivity CHECK (connectivity IN ('online', 'offline')),
    CONSTRAINT fk_devices_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_devices_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
) STRICT;
CREATE INDEX devices_by_name ON devices (name, id);
CREATE UNIQUE INDEX devices_one_name ON devices (user_id, name) WHERE revoked_at IS NULL;
CREATE INDEX devices_user ON devices (user_id);
CREATE TABLE gateways (
    id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL, deleted_at BIGINT,
    CONSTRAINT pk_gateways PRIMARY KEY (id),
    CONSTRAINT fk_gateways_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT uq_gateways_name UNIQUE (name)
) STRICT;
CREATE TABLE invitations (
    id TEXT NOT NULL, token_hash BYTEA NOT NULL, user_id TEXT NOT NULL, device_name TEXT,
    uses_left BIGINT NOT NULL, last4 TEXT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, revoked_at BIGINT,
    CONSTRAINT pk_invitations PRIMARY KEY (id),
    CONSTRAINT ck_invitations_uses_left CHECK (uses_left >= 0),
    CONSTRAINT uq_invitations_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_invitations_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE operator_tokens (
    id TEXT NOT NULL, token_hash BYTEA NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
    scopes JSONB DEFAULT '[]' NOT NULL, user_id TEXT, last4 TEXT NOT NULL, created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, last_used_at BIGINT, revoked_at BIGINT,
    CONSTRAINT pk_operator_tokens PRIMARY KEY (id),
    CONSTRAINT ck_operator_tokens_role CHECK (role IN ('viewer', 'operator', 'admin')),
    CONSTRAINT uq_operator_tokens_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_operator_tokens_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE agents (
    id TEXT NOT NULL, user_id TEXT NOT NULL, external_id TEXT, instance_id TEXT, project_id TEXT,
    name TEXT NOT NULL, description TEXT, type TEXT DEFAULT 'CUSTOM' NOT NULL, subtype TEXT,
    source TEXT DEFAULT 'api' NOT NULL, executor TEXT NOT NULL, device_id TEXT, template_id TEXT,
    connector_id TEXT, prompt_template TEXT, data_types JSONB DEFAULT '[]' NOT NULL,
    needs JSONB DEFAULT '[]' NOT NULL, locks JSONB DEFAULT '[]' NOT NULL,
    max_concurrent_runs BIGINT DEFAULT 1 NOT NULL, priority BIGINT DEFAULT 0 NOT NULL,
    config_rev BIGINT DEFAULT 1 NOT NULL, config_fingerprint TEXT DEFAULT '' NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deleted_at BIGINT,
    CONSTRAINT pk_agents PRIMARY KEY (id),
    CONSTRAINT uq_agents_user_id_name UNIQUE (user_id, name),
    CONSTRAINT ck_agents_type CHECK (type IN ('COORDINATOR', 'ASSISTANT', 'RESEARCHER', 'DEVELOPER',
        'DESIGNER', 'SPECIALIST', 'AUDITOR', 'CUSTOM')),
    CONSTRAINT ck_agents_subtype CHECK (subtype IS NULL OR subtype IN ('PLANNER', 'REVIEWER', 'MANAGER',
        'TOOL_CURATOR', 'DEPLOYMENT')),
    CONSTRAINT ck_agents_source CHECK (source IN ('file', 'api')),
    CONSTRAINT ck_agents_executor CHECK (executor IN ('device', 'connector', 'gateway')),
    CONSTRAINT ck_agents_max_concurrent_runs CHECK (max_concurrent_runs BETWEEN 1 AND 64),
    CONSTRAINT fk_agents_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT uq_agents_external_id UNIQUE (external_id),
    CONSTRAINT fk_agents_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE SET NULL,
    CONSTRAINT fk_agents_template_id FOREIGN KEY(template_id) REFERENCES agent_templates (id) ON DELETE SET
        NULL,
    CONSTRAINT fk_agents_connector_id FOREIGN KEY(connector_id) REFERENCES connectors (id) ON DELETE SET
        NULL
) STRICT;
CREATE INDEX agents_by_name ON agents (name, id) WHERE deleted_at IS NULL;
CREATE INDEX agents_connector ON agents (connector_id) WHERE connector_id IS NOT NULL;
CREATE INDEX agents_device ON agents (device_id);
CREATE INDEX agents_template ON agents (template_id) WHERE template_id IS NOT NULL;
CREATE TABLE boards (
    id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT, gateway_id TEXT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_boards PRIMARY KEY (id),
    CONSTRAINT uq_boards_user_id_name UNIQUE (user_id, name),
    CONSTRAINT fk_boards_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_boards_gateway_id FOREIGN KEY(gateway_id) REFERENCES gateways (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX boards_by_name ON boards (name, id);
CREATE INDEX boards_gateway ON boards (gateway_id) WHERE gateway_id IS NOT NULL;
CREATE TABLE credentials (
    connector_id TEXT NOT NULL, version BIGINT DEFAULT 1 NOT NULL, sealed BYTEA NOT NULL,
    key_id TEXT NOT NULL, scopes JSONB DEFAULT '[]' NOT NULL, expires_at BIGINT, granted_at BIGINT NOT NULL,
    refreshed_at BIGINT NOT NULL, ended_after BIGINT, lease_owner TEXT, lease_until BIGINT,
    CONSTRAINT pk_credentials PRIMARY KEY (connector_id),
    CONSTRAINT fk_credentials_connector_id FOREIGN KEY(connector_id) REFERENCES connectors (id) ON DELETE
        CASCADE
) STRICT;
CREATE INDEX credentials_key ON credentials (key_id);
CREATE TABLE device_keys (
    id TEXT NOT NULL, device_id TEXT NOT NULL, public_key BYTEA NOT NULL, created_at BIGINT NOT NULL,
    last_used_at BIGINT, revoked_at BIGINT, rotated_to TEXT,
    CONSTRAINT pk_device_keys PRIMARY KEY (id),
    CONSTRAINT fk_device_keys_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX device_keys_device ON device_keys (device_id);
CREATE TABLE device_stores (
    device_id TEXT NOT NULL, store_id TEXT NOT NULL, counter BIGINT DEFAULT 0 NOT NULL, resend_after TEXT,
    cause TEXT NOT NULL, began_at BIGINT NOT NULL, agreed_at BIGINT, sent BIGINT DEFAULT 0 NOT NULL,
    taken BIGINT DEFAULT 0 NOT NULL, refused BIGINT DEFAULT 0 NOT NULL, problem TEXT,
    CONSTRAINT pk_device_stores PRIMARY KEY (device_id),
    CONSTRAINT ck_device_stores_cause CHECK (cause IN ('first', 'store_older', 'store_replaced',
        'hub_older', 'asked')),
    CONSTRAINT fk_device_stores_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE device_tokens (
    id TEXT NOT NULL, device_id TEXT NOT NULL, token_hash BYTEA NOT NULL, scopes JSONB DEFAULT '[]' NOT
        NULL,
    created_at BIGINT NOT NULL, expires_at BIGINT, last_used_at BIGINT, revoked_at BIGINT, last4 TEXT,
    created_by TEXT,
    CONSTRAINT pk_device_tokens PRIMARY KEY (id),
    CONSTRAINT fk_device_tokens_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE CASCADE,
    CONSTRAINT uq_device_tokens_token_hash UNIQUE (token_hash)
) STRICT;
CREATE INDEX device_tokens_by_age ON device_tokens (created_at, id);
CREATE INDEX device_tokens_device ON device_tokens (device_id);
CREATE TABLE pairings (
    id TEXT NOT NULL, code_hash BYTEA NOT NULL, key_id TEXT NOT NULL, public_key BYTEA NOT NULL,
    label TEXT DEFAULT '' NOT NULL, platform TEXT DEFAULT '' NOT NULL, network TEXT NOT NULL,
    connection_id TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, decided_at BIGINT,
    decision TEXT, actor TEXT, device_id TEXT,
    CONSTRAINT pk_pairings PRIMARY KEY (id),
    CONSTRAINT ck_pairings_decision CHECK (decision IS NULL OR decision IN ('approved', 'denied')),
    CONSTRAINT ck_pairings_decided_at CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT uq_pairings_code_hash UNIQUE (code_hash),
    CONSTRAINT fk_pairings_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX pairings_expires ON pairings (expires_at);
CREATE TABLE posted (
    id TEXT NOT NULL, connector_id TEXT NOT NULL, dedupe_key TEXT NOT NULL, event TEXT DEFAULT '' NOT NULL,
    media_type TEXT NOT NULL, body BYTEA, size_bytes BIGINT NOT NULL, received_at BIGINT NOT NULL,
    settled_at BIGINT,
    CONSTRAINT pk_posted PRIMARY KEY (id),
    CONSTRAINT uq_posted_connector_id_dedupe_key UNIQUE (connector_id, dedupe_key),
    CONSTRAINT ck_posted_body CHECK ((body IS NULL) = (settled_at IS NOT NULL)),
    CONSTRAINT fk_posted_connector_id FOREIGN KEY(connector_id) REFERENCES connectors (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX posted_settled ON posted (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX posted_waiting ON posted (connector_id, id) WHERE settled_at IS NULL;
CREATE TABLE sign_ins (
    id TEXT NOT NULL, connector_id TEXT NOT NULL, way TEXT NOT NULL, state_hash BYTEA NOT NULL,
    sealed BYTEA NOT NULL, key_id TEXT NOT NULL, redirect_uri TEXT, device_id TEXT, actor TEXT NOT NULL,
    outcome TEXT, problem TEXT, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT,
    CONSTRAINT pk_sign_ins PRIMARY KEY (id),
    CONSTRAINT ck_sign_ins_way CHECK (way IN ('device', 'paste', 'code')),
    CONSTRAINT ck_sign_ins_outcome CHECK (outcome IS NULL OR outcome IN ('done', 'failed')),
    CONSTRAINT ck_sign_ins_settled_at CHECK ((outcome IS NULL) = (settled_at IS NULL)),
    CONSTRAINT fk_sign_ins_connector_id FOREIGN KEY(connector_id) REFERENCES connectors (id) ON DELETE
        CASCADE,
    CONSTRAINT uq_sign_ins_state_hash UNIQUE (state_hash)
) STRICT;
CREATE INDEX sign_ins_connector ON sign_ins (connector_id);
CREATE INDEX sign_ins_expires ON sign_ins (expires_at);
CREATE TABLE agent_capabilities (
    agent_id TEXT NOT NULL, name TEXT NOT NULL, ver_major BIGINT NOT NULL, ver_minor BIGINT NOT NULL,
    ver_patch BIGINT NOT NULL, prerelease TEXT DEFAULT '' NOT NULL, enabled BOOLEAN DEFAULT true NOT NULL,
    source TEXT DEFAULT 'api' NOT NULL, config JSONB DEFAULT '{}' NOT NULL, description TEXT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_agent_capabilities PRIMARY KEY (agent_id, name, ver_major, ver_minor, ver_patch,
        prerelease),
    CONSTRAINT ck_agent_capabilities_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT ck_agent_capabilities_version CHECK (ver_major >= 0 AND ver_minor >= 0 AND ver_patch >= 0),
    CONSTRAINT ck_agent_capabilities_source CHECK (source IN ('file', 'api', 'device')),
    CONSTRAINT ck_agent_capabilities_enabled CHECK (enabled IN (0, 1)),
    CONSTRAINT fk_agent_capabilities_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX agent_capabilities_one_enabled ON agent_capabilities (agent_id, name) WHERE enabled;
CREATE TABLE agent_config_history (
    agent_id TEXT NOT NULL, seq BIGINT NOT NULL, config_key TEXT NOT NULL, old_type TEXT, old_value TEXT,
    new_type TEXT, new_value TEXT, actor TEXT NOT NULL, at BIGINT NOT NULL,
    CONSTRAINT pk_agent_config_history PRIMARY KEY (agent_id, seq),
    CONSTRAINT fk_agent_config_history_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX agent_config_history_at ON agent_config_history (at);
CREATE TABLE agent_configs (
    agent_id TEXT NOT NULL, config_key TEXT NOT NULL, config_type TEXT DEFAULT 'string' NOT NULL,
    config_value TEXT NOT NULL, description TEXT, source TEXT DEFAULT 'api' NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_agent_configs PRIMARY KEY (agent_id, config_key),
    CONSTRAINT ck_agent_configs_config_key CHECK (length(config_key) BETWEEN 1 AND 255),
    CONSTRAINT ck_agent_configs_source CHECK (source IN ('file', 'api')),
    CONSTRAINT ck_agent_configs_config_type CHECK (config_type IN ('string', 'integer', 'float', 'boolean',
        'json')),
    CONSTRAINT fk_agent_configs_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE agent_locks (
    user_id TEXT NOT NULL, resource TEXT NOT NULL, fence BIGINT DEFAULT 0 NOT NULL, holder_kind TEXT,
    holder_id TEXT, agent_id TEXT, ttl_ms BIGINT DEFAULT 0 NOT NULL, acquired_at BIGINT,
    expires_at BIGINT DEFAULT 0 NOT NULL, request_id TEXT,
    CONSTRAINT pk_agent_locks PRIMARY KEY (user_id, resource),
    CONSTRAINT ck_agent_locks_holder_kind CHECK (holder_kind IS NULL OR holder_kind IN ('run', 'device')),
    CONSTRAINT ck_agent_locks_resource CHECK (length(resource) BETWEEN 1 AND 255),
    CONSTRAINT ck_agent_locks_fence CHECK (fence >= 0),
    CONSTRAINT ck_agent_locks_holder CHECK ((holder_kind IS NULL) = (holder_id IS NULL)),
    CONSTRAINT ck_agent_locks_free CHECK (holder_id IS NOT NULL OR expires_at = 0),
    CONSTRAINT fk_agent_locks_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_agent_locks_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX agent_locks_agent ON agent_locks (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX agent_locks_holder ON agent_locks (holder_kind, holder_id) WHERE holder_id IS NOT NULL;
CREATE INDEX agent_locks_request ON agent_locks (request_id) WHERE request_id IS NOT NULL;
CREATE TABLE agent_state_history (
    agent_id TEXT NOT NULL, seq BIGINT NOT NULL, axis TEXT NOT NULL, old_value TEXT, new_value TEXT NOT
        NULL,
    snapshot JSONB DEFAULT '{}' NOT NULL, reason TEXT, actor TEXT NOT NULL, at BIGINT NOT NULL,
    CONSTRAINT pk_agent_state_history PRIMARY KEY (agent_id, seq),
    CONSTRAINT ck_agent_state_history_axis CHECK (axis IN ('lifecycle', 'availability', 'connectivity',
        'health', 'activity')),
    CONSTRAINT fk_agent_state_history_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX agent_state_history_at ON agent_state_history (at);
CREATE INDEX agent_state_history_axis ON agent_state_history (agent_id, axis, seq);
CREATE TABLE agent_states (
    agent_id TEXT NOT NULL, lifecycle TEXT DEFAULT 'created' NOT NULL,
    availability TEXT DEFAULT 'available' NOT NULL, connectivity TEXT DEFAULT 'offline' NOT NULL,
    reported_connectivity TEXT, health TEXT DEFAULT 'ok' NOT NULL, health_reason TEXT, state_detail TEXT,
    exhaust_reason TEXT, exhausted_at BIGINT, recovery_at BIGINT, probe_at BIGINT,
    exhaust_count BIGINT DEFAULT 0 NOT NULL,
    runs_waiting BIGINT DEFAULT 0 NOT NULL, runs_executing BIGINT DEFAULT 0 NOT NULL,
    runs_running BIGINT DEFAULT 0 NOT NULL, resource_usage JSONB DEFAULT '{}' NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL, last_heartbeat_at BIGINT, last_activity_at BIGINT NOT NULL,
    version BIGINT DEFAULT 1 NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_agent_states PRIMARY KEY (agent_id),
    CONSTRAINT ck_agent_states_lifecycle CHECK (lifecycle IN ('created', 'initializing', 'ready', 'active',
        'paused', 'maintenance', 'terminated')),
    CONSTRAINT ck_agent_states_availability CHECK (availability IN ('available', 'on_call', 'exhausted')),
    CONSTRAINT ck_agent_states_connectivity CHECK (connectivity IN ('online', 'offline')),
    CONSTRAINT ck_agent_states_reported_connectivity CHECK (reported_connectivity IS NULL OR
        reported_connectivity IN ('online', 'offline')),
    CONSTRAINT ck_agent_states_health CHECK (health IN ('ok', 'error')),
    CONSTRAINT ck_agent_states_state_detail CHECK (state_detail IS NULL OR state_detail IN ('CREATED',
        'INITIALIZING', 'READY', 'ACTIVE')),
    CONSTRAINT ck_agent_states_exhaust_reason CHECK (exhaust_reason IS NULL OR exhaust_reason IN
        ('rate_limit', 'billing', 'budget')),
    CONSTRAINT ck_agent_states_runs_waiting CHECK (runs_waiting >= 0),
    CONSTRAINT ck_agent_states_runs_executing CHECK (runs_executing >= 0),
    CONSTRAINT ck_agent_states_runs_running CHECK (runs_running BETWEEN 0 AND runs_executing),
    CONSTRAINT ck_agent_states_exhausted CHECK ((availability = 'exhausted') = (exhausted_at IS NOT NULL)),
    CONSTRAINT ck_agent_states_exhausted_why CHECK (availability = 'exhausted' OR exhaust_reason IS NULL),
    CONSTRAINT ck_agent_states_kept_offline CHECK (connectivity = 'offline' OR reported_connectivity IS
        NULL),
    CONSTRAINT ck_agent_states_recovery_at CHECK (recovery_at IS NULL OR (availability = 'exhausted' AND
        recovery_at >= exhausted_at)),
    CONSTRAINT fk_agent_states_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX agent_states_recovery ON agent_states (recovery_at) WHERE availability = 'exhausted';
CREATE TABLE agent_tokens (
    id TEXT NOT NULL, token_hash BYTEA NOT NULL, agent_id TEXT NOT NULL, last4 TEXT NOT NULL,
    created_by TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, last_used_at BIGINT,
    revoked_at BIGINT,
    CONSTRAINT pk_agent_tokens PRIMARY KEY (id),
    CONSTRAINT uq_agent_tokens_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_agent_tokens_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX agent_tokens_agent ON agent_tokens (agent_id);
CREATE TABLE board_members (
    agent_id TEXT NOT NULL, board_id TEXT NOT NULL, is_lead BOOLEAN DEFAULT false NOT NULL,
    joined_at BIGINT NOT NULL,
    CONSTRAINT pk_board_members PRIMARY KEY (agent_id),
    CONSTRAINT ck_board_members_is_lead CHECK (is_lead IN (0, 1)),
    CONSTRAINT fk_board_members_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_board_members_board_id FOREIGN KEY(board_id) REFERENCES boards (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX board_members_board ON board_members (board_id);
CREATE UNIQUE INDEX board_members_one_lead ON board_members (board_id) WHERE is_lead;
CREATE TABLE board_memory (
    id TEXT NOT NULL, board_id TEXT NOT NULL, content TEXT NOT NULL, tags JSONB DEFAULT '[]' NOT NULL,
    is_chat BOOLEAN DEFAULT false NOT NULL, source TEXT, correlation_id TEXT, reply_to TEXT, agent_id TEXT,
    actor TEXT NOT NULL, dedupe_key TEXT, created_at BIGINT NOT NULL,
    CONSTRAINT pk_board_memory PRIMARY KEY (id),
    CONSTRAINT ck_board_memory_is_chat CHECK (is_chat IN (0, 1)),
    CONSTRAINT fk_board_memory_board_id FOREIGN KEY(board_id) REFERENCES boards (id) ON DELETE CASCADE,
    CONSTRAINT uq_board_memory_dedupe_key UNIQUE (dedupe_key)
) STRICT;
CREATE INDEX board_memory_board ON board_memory (board_id, created_at, id);
CREATE TABLE checkpoints (
    agent_id TEXT NOT NULL, scope TEXT DEFAULT 'agent' NOT NULL, sequence_number BIGINT DEFAULT 0 NOT NULL,
    is_recoverable BOOLEAN DEFAULT true NOT NULL, state_data JSONB DEFAULT '{}' NOT NULL, run_id TEXT,
    fence BIGINT DEFAULT 0 NOT NULL, actor TEXT NOT NULL, created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_checkpoints PRIMARY KEY (agent_id, scope),
    CONSTRAINT ck_checkpoints_is_recoverable CHECK (is_recoverable IN (0, 1)),
    CONSTRAINT ck_checkpoints_sequence_number CHECK (sequence_number >= 0),
    CONSTRAINT ck_checkpoints_scope CHECK (length(scope) BETWEEN 1 AND 255),
    CONSTRAINT fk_checkpoints_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE connector_cursors (
    agent_id TEXT NOT NULL, origin TEXT NOT NULL, cursor TEXT, moves BIGINT DEFAULT 0 NOT NULL, run_id TEXT,
    last_ok_at BIGINT, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_connector_cursors PRIMARY KEY (agent_id),
    CONSTRAINT fk_connector_cursors_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE gateway_agents (
    agent_id TEXT NOT NULL, gateway_id TEXT NOT NULL, remote_id TEXT NOT NULL, session_key TEXT,
    role TEXT DEFAULT 'worker' NOT NULL, state TEXT DEFAULT 'wanted' NOT NULL, problem TEXT, made_at BIGINT,
    lease_boot_id TEXT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_gateway_agents PRIMARY KEY (agent_id),
    CONSTRAINT uq_gateway_agents_gateway_id_remote_id UNIQUE (gateway_id, remote_id),
    CONSTRAINT ck_gateway_agents_role CHECK (role IN ('main', 'lead', 'worker')),
    CONSTRAINT ck_gateway_agents_state CHECK (state IN ('wanted', 'creating', 'ready', 'failed')),
    CONSTRAINT fk_gateway_agents_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_gateway_agents_gateway_id FOREIGN KEY(gateway_id) REFERENCES gateways (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX gateway_agents_main ON gateway_agents (gateway_id) WHERE role = 'main';
CREATE TABLE items (
    id TEXT NOT NULL, user_id TEXT NOT NULL, agent_id TEXT, device_id TEXT, unit_key TEXT NOT NULL,
    target_table TEXT NOT NULL, likeness TEXT NOT NULL, quote_hash TEXT NOT NULL, place_hash TEXT NOT NULL,
    config_fingerprint TEXT NOT NULL, data JSONB DEFAULT '{}' NOT NULL, before JSONB, date_ms BIGINT,
    warnings JSONB DEFAULT '[]' NOT NULL, source JSONB, call_id TEXT NOT NULL, run_id TEXT NOT NULL,
    row_id TEXT, answered_at BIGINT, verdict TEXT DEFAULT 'open' NOT NULL, verdict_at BIGINT,
    version BIGINT DEFAULT 1 NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_items PRIMARY KEY (id),
    CONSTRAINT ck_items_verdict CHECK (verdict IN ('open', 'approved', 'edited', 'rejected')),
    CONSTRAINT ck_items_verdict_at CHECK ((verdict = 'open') = (verdict_at IS NULL)),
    CONSTRAINT fk_items_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_items_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_items_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX items_by_age ON items (created_at, id);
CREATE INDEX items_call ON items (call_id);
CREATE INDEX items_day ON items (user_id, target_table, date_ms) WHERE date_ms IS NOT NULL;
CREATE INDEX items_likeness ON items (likeness, device_id);
CREATE INDEX items_newest ON items (user_id, created_at, id);
CREATE INDEX items_of_device ON items (device_id, call_id);
CREATE INDEX items_open ON items (device_id) WHERE verdict = 'open' AND row_id IS NOT NULL;
CREATE INDEX items_quote ON items (device_id, quote_hash);
CREATE INDEX items_row ON items (device_id, row_id) WHERE row_id IS NOT NULL;
CREATE INDEX items_unit ON items (user_id, unit_key);
CREATE TABLE messages (
    id TEXT NOT NULL, user_id TEXT NOT NULL, kind TEXT NOT NULL, board_id TEXT, broadcast_id TEXT,
    from_agent_id TEXT, actor TEXT NOT NULL, to_agent_id TEXT, to_lead BOOLEAN DEFAULT false NOT NULL,
    gateway_id TEXT, device_id TEXT, content TEXT NOT NULL, deliver BOOLEAN DEFAULT false NOT NULL,
    queue_mode TEXT, correlation_id TEXT, reply_to TEXT, question_id TEXT,
    reply_tags JSONB DEFAULT '[]' NOT NULL, reply_source TEXT, trace_id TEXT NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL, attempt BIGINT DEFAULT 1 NOT NULL, sends BIGINT DEFAULT 0 NOT
        NULL,
    version BIGINT DEFAULT 1 NOT NULL, lease_boot_id TEXT, reason_code TEXT, reason TEXT, answer TEXT,
    memory_id TEXT, dedupe_key TEXT, not_before BIGINT NOT NULL, expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, settled_at BIGINT,
    CONSTRAINT pk_messages PRIMARY KEY (id),
    CONSTRAINT ck_messages_kind CHECK (kind IN ('nudge', 'question', 'handoff', 'ask_user', 'answer')),
    CONSTRAINT ck_messages_state CHECK (state IN ('waiting', 'sent', 'accepted', 'queued', 'consumed',
        'answered', 'interrupted', 'failed', 'expired')),
    CONSTRAINT ck_messages_queue_mode CHECK (queue_mode IS NULL OR queue_mode IN ('steer', 'followup',
        'interrupt')),
    CONSTRAINT ck_messages_to_lead CHECK (to_lead IN (0, 1)),
    CONSTRAINT ck_messages_deliver CHECK (deliver IN (0, 1)),
    CONSTRAINT ck_messages_counts CHECK (attempt >= 1 AND sends >= 0),
    CONSTRAINT ck_messages_settled_at CHECK (state NOT IN ('answered', 'failed', 'expired') OR settled_at IS
        NOT NULL),
    CONSTRAINT ck_messages_answered CHECK (state <> 'answered' OR answer IS NOT NULL),
    CONSTRAINT ck_messages_failed CHECK (state <> 'failed' OR reason_code IS NOT NULL),
    CONSTRAINT fk_messages_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_messages_board_id FOREIGN KEY(board_id) REFERENCES boards (id) ON DELETE SET NULL,
    CONSTRAINT fk_messages_broadcast_id FOREIGN KEY(broadcast_id) REFERENCES broadcasts (id) ON DELETE SET
        NULL,
    CONSTRAINT fk_messages_to_agent_id FOREIGN KEY(to_agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT fk_messages_gateway_id FOREIGN KEY(gateway_id) REFERENCES gateways (id) ON DELETE SET NULL,
    CONSTRAINT fk_messages_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE SET NULL,
    CONSTRAINT uq_messages_dedupe_key UNIQUE (dedupe_key)
) STRICT;
CREATE INDEX messages_agent ON messages (to_agent_id, created_at) WHERE settled_at IS NULL;
CREATE INDEX messages_board ON messages (board_id, created_at) WHERE board_id IS NOT NULL;
CREATE UNIQUE INDEX messages_broadcast ON messages (broadcast_id, board_id) WHERE broadcast_id IS NOT NULL;
CREATE INDEX messages_by_age ON messages (created_at, id);
CREATE INDEX messages_due ON messages (gateway_id, not_before, id) WHERE settled_at IS NULL;
CREATE INDEX messages_expiring ON messages (expires_at) WHERE settled_at IS NULL;
CREATE INDEX messages_open ON messages (user_id, settled_at) WHERE settled_at IS NULL;
CREATE INDEX messages_settled ON messages (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX messages_user ON messages (user_id, created_at, id);
CREATE TABLE metric_series (
    id TEXT NOT NULL, agent_id TEXT NOT NULL, name TEXT NOT NULL, metric_type TEXT DEFAULT 'gauge' NOT NULL,
    tags_key TEXT DEFAULT '' NOT NULL, tags JSONB DEFAULT '{}' NOT NULL, created_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    CONSTRAINT pk_metric_series PRIMARY KEY (id),
    CONSTRAINT uq_metric_series_agent_id_name_tags_key UNIQUE (agent_id, name, tags_key),
    CONSTRAINT ck_metric_series_metric_type CHECK (metric_type IN ('counter', 'gauge', 'histogram')),
    CONSTRAINT ck_metric_series_name CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT fk_metric_series_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX metric_series_last ON metric_series (last_at);
CREATE TABLE model_answers (
    agent_id TEXT NOT NULL, question TEXT NOT NULL, model TEXT NOT NULL, finish TEXT NOT NULL,
    answer TEXT NOT NULL, created_at BIGINT NOT NULL, used_at BIGINT NOT NULL,
    CONSTRAINT pk_model_answers PRIMARY KEY (agent_id, question),
    CONSTRAINT ck_model_answers_finish CHECK (finish IN ('whole', 'cut_off', 'too_long')),
    CONSTRAINT fk_model_answers_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX model_answers_used ON model_answers (used_at);
CREATE TABLE model_batches (
    id TEXT NOT NULL, agent_id TEXT NOT NULL, run_id TEXT NOT NULL, model TEXT NOT NULL, remote_id TEXT,
    state TEXT DEFAULT 'made' NOT NULL, questions JSONB DEFAULT '{}' NOT NULL, created_at BIGINT NOT NULL,
    checked_at BIGINT, done_at BIGINT,
    CONSTRAINT pk_model_batches PRIMARY KEY (id),
    CONSTRAINT ck_model_batches_state CHECK (state IN ('made', 'submitted', 'done', 'failed')),
    CONSTRAINT fk_model_batches_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX model_batches_run ON model_batches (run_id);
CREATE TABLE model_calls (
    id TEXT NOT NULL, at BIGINT NOT NULL, agent_id TEXT NOT NULL, user_id TEXT NOT NULL, run_id TEXT,
    unit_key TEXT, question TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
    requests BIGINT DEFAULT 1 NOT NULL, prompt_tokens BIGINT DEFAULT 0 NOT NULL,
    completion_tokens BIGINT DEFAULT 0 NOT NULL, cost_nanos BIGINT DEFAULT 0 NOT NULL,
    took_ms BIGINT DEFAULT 0 NOT NULL, measured_at BIGINT,
    CONSTRAINT pk_model_calls PRIMARY KEY (id),
    CONSTRAINT fk_model_calls_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX model_calls_agent ON model_calls (agent_id, at);
CREATE INDEX model_calls_at ON model_calls (at);
CREATE INDEX model_calls_run ON model_calls (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX model_calls_unmeasured ON model_calls (at) WHERE measured_at IS NULL;
CREATE TABLE questions (
    id TEXT NOT NULL, user_id TEXT NOT NULL, board_id TEXT, from_agent_id TEXT, actor TEXT NOT NULL,
    content TEXT NOT NULL, preferred_channel TEXT, correlation_id TEXT,
    reply_tags JSONB DEFAULT '[]' NOT NULL, reply_source TEXT, trace_id TEXT NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL, answer TEXT, answered_by TEXT, memory_id TEXT, message_id TEXT,
    dedupe_key TEXT, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT,
    CONSTRAINT pk_questions PRIMARY KEY (id),
    CONSTRAINT ck_questions_state CHECK (state IN ('open', 'answered', 'withdrawn', 'expired')),
    CONSTRAINT ck_questions_settled_at CHECK ((state = 'open') = (settled_at IS NULL)),
    CONSTRAINT ck_questions_answered CHECK ((state = 'answered') = (answer IS NOT NULL AND answered_by IS
        NOT NULL)),
    CONSTRAINT fk_questions_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_questions_board_id FOREIGN KEY(board_id) REFERENCES boards (id) ON DELETE SET NULL,
    CONSTRAINT uq_questions_dedupe_key UNIQUE (dedupe_key)
) STRICT;
CREATE INDEX questions_by_age ON questions (created_at, id);
CREATE INDEX questions_settled ON questions (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX questions_user ON questions (user_id, created_at);
CREATE INDEX questions_waiting ON questions (user_id, state, expires_at) WHERE state = 'open';
CREATE TABLE schedules (
    id TEXT NOT NULL, agent_id TEXT NOT NULL, kind TEXT NOT NULL, expr TEXT, every_ms BIGINT, at_ms BIGINT,
    tz TEXT DEFAULT 'UTC' NOT NULL, action TEXT DEFAULT 'run' NOT NULL, label TEXT, duration_ms BIGINT,
    overlap TEXT DEFAULT 'skip' NOT NULL, coalesce_policy TEXT DEFAULT 'latest' NOT NULL,
    catchup_window_ms BIGINT, max_catchup BIGINT DEFAULT 10 NOT NULL, start_deadline_ms BIGINT,
    run_timeout_ms BIGINT DEFAULT 3600000 NOT NULL, jitter_ms BIGINT DEFAULT 0 NOT NULL,
    max_attempts BIGINT DEFAULT 5 NOT NULL, pause_after_failures BIGINT DEFAULT 5 NOT NULL,
    enabled BOOLEAN DEFAULT true NOT NULL, paused_reason TEXT, consecutive_failures BIGINT DEFAULT 0 NOT
        NULL,
    remaining_runs BIGINT, starts_at BIGINT, ends_at BIGINT, cursor_at BIGINT NOT NULL, next_fire_at BIGINT,
    due_at BIGINT, rev BIGINT DEFAULT 1 NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_schedules PRIMARY KEY (id),
    CONSTRAINT ck_schedules_kind CHECK (kind IN ('cron', 'every', 'at')),
    CONSTRAINT ck_schedules_action CHECK (action IN ('run', 'wake')),
    CONSTRAINT ck_schedules_overlap CHECK (overlap IN ('skip', 'queue_one', 'queue_all', 'cancel_running',
        'allow')),
    CONSTRAINT ck_schedules_coalesce_policy CHECK (coalesce_policy IN ('latest', 'earliest', 'all')),
    CONSTRAINT ck_schedules_enabled CHECK (enabled IN (0, 1)),
    CONSTRAINT ck_schedules_every_ms CHECK (every_ms IS NULL OR every_ms >= 5000),
    CONSTRAINT ck_schedules_duration_ms CHECK (duration_ms IS NULL OR duration_ms > 0),
    CONSTRAINT ck_schedules_slot CHECK ((action = 'wake') = (label IS NOT NULL AND duration_ms IS NOT
        NULL)),
    CONSTRAINT ck_schedules_catchup_window_ms CHECK (catchup_window_ms IS NULL OR catchup_window_ms >= 0),
    CONSTRAINT ck_schedules_max_catchup CHECK (max_catchup BETWEEN 1 AND 1000),
    CONSTRAINT ck_schedules_jitter_ms CHECK (jitter_ms >= 0),
    CONSTRAINT ck_schedules_max_attempts CHECK (max_attempts BETWEEN 1 AND 20),
    CONSTRAINT ck_schedules_pause_after_failures CHECK (pause_after_failures >= 0),
    CONSTRAINT ck_schedules_has_expr CHECK ((kind = 'cron') = (expr IS NOT NULL)),
    CONSTRAINT ck_schedules_has_every_ms CHECK ((kind = 'every') = (every_ms IS NOT NULL)),
    CONSTRAINT ck_schedules_has_at_ms CHECK ((kind = 'at') = (at_ms IS NOT NULL)),
    CONSTRAINT ck_schedules_next_fire_at CHECK (next_fire_at IS NULL OR next_fire_at > cursor_at),
    CONSTRAINT ck_schedules_window CHECK (coalesce_policy <> 'all' OR catchup_window_ms IS NOT NULL),
    CONSTRAINT fk_schedules_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX schedules_agent ON schedules (agent_id);
CREATE INDEX schedules_due ON schedules (due_at) WHERE enabled AND due_at IS NOT NULL;
CREATE INDEX schedules_unplanned ON schedules (id) WHERE enabled AND due_at IS NULL;
CREATE TABLE seen_messages (
    agent_id TEXT NOT NULL, key_hash TEXT NOT NULL, version TEXT DEFAULT '' NOT NULL, state TEXT NOT NULL,
    attempts BIGINT DEFAULT 0 NOT NULL, reason TEXT, subject_hash TEXT, run_id TEXT, seen_at BIGINT NOT
        NULL,
    CONSTRAINT pk_seen_messages PRIMARY KEY (agent_id, key_hash),
    CONSTRAINT ck_seen_messages_state CHECK (state IN ('planned', 'left_out', 'failed', 'dead')),
    CONSTRAINT fk_seen_messages_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX seen_messages_failed ON seen_messages (agent_id) WHERE state IN ('failed', 'dead');
CREATE INDEX seen_messages_seen ON seen_messages (seen_at);
CREATE TABLE soul_versions (
    agent_id TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL,
    sha256 TEXT NOT NULL, size_bytes BIGINT NOT NULL, write_id TEXT, actor TEXT NOT NULL, reason TEXT,
    source_url TEXT, at BIGINT NOT NULL,
    CONSTRAINT pk_soul_versions PRIMARY KEY (agent_id, seq),
    CONSTRAINT ck_soul_versions_kind CHECK (kind IN ('written', 'seen', 'refused')),
    CONSTRAINT fk_soul_versions_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE soul_writes (
    id TEXT NOT NULL, agent_id TEXT NOT NULL, board_id TEXT, content TEXT NOT NULL, sha256 TEXT NOT NULL,
    expected_sha256 TEXT, found_sha256 TEXT, state TEXT DEFAULT 'waiting' NOT NULL,
    sends BIGINT DEFAULT 0 NOT NULL, reason_code TEXT, problem TEXT, reason TEXT, source_url TEXT,
    from_agent_id TEXT, actor TEXT NOT NULL, correlation_id TEXT, trace_id TEXT NOT NULL, dedupe_key TEXT,
    not_before BIGINT NOT NULL, created_at BIGINT NOT NULL, settled_at BIGINT,
    CONSTRAINT pk_soul_writes PRIMARY KEY (id),
    CONSTRAINT ck_soul_writes_state CHECK (state IN ('waiting', 'done', 'conflict', 'failed')),
    CONSTRAINT ck_soul_writes_settled_at CHECK ((state = 'waiting') = (settled_at IS NULL)),
    CONSTRAINT fk_soul_writes_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT uq_soul_writes_dedupe_key UNIQUE (dedupe_key)
) STRICT;
CREATE INDEX soul_writes_agent ON soul_writes (agent_id, created_at);
CREATE UNIQUE INDEX soul_writes_open ON soul_writes (agent_id) WHERE state = 'waiting';
CREATE TABLE unit_ledger (
    agent_id TEXT NOT NULL, unit_key TEXT NOT NULL, content_hash TEXT NOT NULL,
    config_fingerprint TEXT NOT NULL, run_id TEXT NOT NULL, done_at BIGINT NOT NULL,
    CONSTRAINT pk_unit_ledger PRIMARY KEY (agent_id, unit_key),
    CONSTRAINT fk_unit_ledger_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE agent_metrics (
    series_id TEXT NOT NULL, bucket_ms BIGINT NOT NULL, bucket_at BIGINT NOT NULL, n BIGINT NOT NULL,
    sum DOUBLE PRECISION NOT NULL, min DOUBLE PRECISION NOT NULL, max DOUBLE PRECISION NOT NULL,
    last DOUBLE PRECISION NOT NULL, last_at BIGINT NOT NULL, hist JSONB,
    CONSTRAINT pk_agent_metrics PRIMARY KEY (series_id, bucket_ms, bucket_at),
    CONSTRAINT ck_agent_metrics_n CHECK (n > 0),
    CONSTRAINT fk_agent_metrics_series_id FOREIGN KEY(series_id) REFERENCES metric_series (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX agent_metrics_at ON agent_metrics (bucket_ms, bucket_at);
CREATE TABLE lock_waits (
    user_id TEXT NOT NULL, resource TEXT NOT NULL, ticket BIGINT NOT NULL, request_id TEXT NOT NULL,
    holder_kind TEXT NOT NULL, holder_id TEXT NOT NULL, agent_id TEXT, ttl_ms BIGINT NOT NULL,
    queued_at BIGINT NOT NULL, deadline_at BIGINT,
    CONSTRAINT pk_lock_waits PRIMARY KEY (user_id, resource, ticket),
    CONSTRAINT fk_lock_waits_user_id_resource FOREIGN KEY(user_id, resource) REFERENCES agent_locks
        (user_id, resource) ON DELETE CASCADE,
    CONSTRAINT ck_lock_waits_holder_kind CHECK (holder_kind IN ('run', 'device')),
    CONSTRAINT fk_lock_waits_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX lock_waits_agent ON lock_waits (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX lock_waits_holder ON lock_waits (holder_kind, holder_id);
CREATE INDEX lock_waits_request ON lock_waits (request_id);
CREATE TABLE message_moves (
    message_id TEXT NOT NULL, seq BIGINT NOT NULL, old_state TEXT, new_state TEXT NOT NULL,
    attempt BIGINT NOT NULL, proof JSONB DEFAULT '{}' NOT NULL, reason TEXT, at BIGINT NOT NULL,
    CONSTRAINT pk_message_moves PRIMARY KEY (message_id, seq),
    CONSTRAINT ck_message_moves_old_state CHECK (old_state IS NULL OR old_state IN ('waiting', 'sent',
        'accepted', 'queued', 'consumed', 'answered', 'interrupted', 'failed', 'expired')),
    CONSTRAINT ck_message_moves_new_state CHECK (new_state IN ('waiting', 'sent', 'accepted', 'queued',
        'consumed', 'answered', 'interrupted', 'failed', 'expired')),
    CONSTRAINT fk_message_moves_message_id FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE question_tellings (
    question_id TEXT NOT NULL, device_id TEXT NOT NULL, asked_at BIGINT NOT NULL, closed_at BIGINT,
    CONSTRAINT pk_question_tellings PRIMARY KEY (question_id, device_id),
    CONSTRAINT fk_question_tellings_question_id FOREIGN KEY(question_id) REFERENCES questions (id) ON DELETE
        CASCADE,
    CONSTRAINT fk_question_tellings_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX question_tellings_device ON question_tellings (device_id);
CREATE TABLE runs (
    id TEXT NOT NULL, agent_id TEXT NOT NULL, schedule_id TEXT, device_id TEXT, trigger_kind TEXT NOT NULL,
    fire_key TEXT NOT NULL, fire_at BIGINT NOT NULL, eligible_at BIGINT NOT NULL, queue_slot TEXT,
    rerun_of TEXT, state TEXT DEFAULT 'QUEUED' NOT NULL, outcome TEXT, reason TEXT, pause_reason TEXT,
    fence BIGINT DEFAULT 0 NOT NULL, lease_boot_id TEXT, lease_expires_at BIGINT, cancel_requested_at
        BIGINT,
    cancel_reason TEXT, attempt BIGINT DEFAULT 1 NOT NULL, max_attempts BIGINT DEFAULT 5 NOT NULL,
    crash_count BIGINT DEFAULT 0 NOT NULL, dispatch_count BIGINT DEFAULT 0 NOT NULL,
    coalesced_count BIGINT DEFAULT 0 NOT NULL, timeout_ms BIGINT DEFAULT 3600000 NOT NULL, deadline_at
        BIGINT,
    start_deadline_at BIGINT, priority BIGINT DEFAULT 0 NOT NULL, config_rev BIGINT NOT NULL,
    config_fingerprint TEXT NOT NULL, needs JSONB DEFAULT '[]' NOT NULL, locks JSONB DEFAULT '[]' NOT NULL,
    settings JSONB DEFAULT '{}' NOT NULL, parameters JSONB DEFAULT '{}' NOT NULL,
    context JSONB DEFAULT '{}' NOT NULL,
    progress REAL DEFAULT 0 NOT NULL, status_message TEXT, result JSONB, errors JSONB DEFAULT '[]' NOT NULL,
    error_count BIGINT DEFAULT 0 NOT NULL, units_total BIGINT DEFAULT 0 NOT NULL,
    units_done BIGINT DEFAULT 0 NOT NULL, units_skipped BIGINT DEFAULT 0 NOT NULL,
    units_failed BIGINT DEFAULT 0 NOT NULL, items_created BIGINT DEFAULT 0 NOT NULL,
    model_requests BIGINT DEFAULT 0 NOT NULL, prompt_tokens BIGINT DEFAULT 0 NOT NULL,
    completion_tokens BIGINT DEFAULT 0 NOT NULL, cost_nanos BIGINT DEFAULT 0 NOT NULL,
    items_updated BIGINT DEFAULT 0 NOT NULL, items_known BIGINT DEFAULT 0 NOT NULL,
    state_seq BIGINT DEFAULT 1 NOT NULL, created_at BIGINT NOT NULL, started_at BIGINT, completed_at BIGINT,
    forgotten_at BIGINT, measured_at BIGINT, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_runs PRIMARY KEY (id),
    CONSTRAINT uq_runs_agent_id_fire_key UNIQUE (agent_id, fire_key),
    CONSTRAINT ck_runs_trigger_kind CHECK (trigger_kind IN ('schedule', 'catchup', 'backfill', 'manual',
        'wake', 'rerun')),
    CONSTRAINT ck_runs_state CHECK (state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED', 'COMPLETED',
        'FAILED', 'CANCELLED')),
    CONSTRAINT ck_runs_outcome CHECK (outcome IS NULL OR outcome IN ('success', 'partial', 'error')),
    CONSTRAINT ck_runs_pause_reason CHECK (pause_reason IS NULL OR pause_reason IN ('user',
        'device_offline', 'exhausted', 'model_away', 'drain', 'waiting_input')),
    CONSTRAINT ck_runs_progress CHECK (progress BETWEEN 0 AND 100),
    CONSTRAINT ck_runs_lease CHECK ((state IN ('PREPARING', 'RUNNING')) = (lease_boot_id IS NOT NULL AND
        lease_expires_at IS NOT NULL)),
    CONSTRAINT ck_runs_completed_at CHECK ((state IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (completed_at
        IS NOT NULL)),
    CONSTRAINT ck_runs_outcome_of_state CHECK (CASE state WHEN 'COMPLETED' THEN COALESCE(outcome IN
        ('success', 'partial'), FALSE) WHEN 'FAILED' THEN COALESCE(outcome = 'error', FALSE) ELSE outcome IS
        NULL END),
    CONSTRAINT ck_runs_paused CHECK ((state = 'PAUSED') = (pause_reason IS NOT NULL)),
    CONSTRAINT ck_runs_attempt CHECK (attempt BETWEEN 1 AND max_attempts),
    CONSTRAINT ck_runs_fence CHECK (fence > 0 OR state IN ('QUEUED', 'PAUSED', 'CANCELLED')),
    CONSTRAINT fk_runs_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_runs_schedule_id FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE SET NULL,
    CONSTRAINT fk_runs_device_id FOREIGN KEY(device_id) REFERENCES devices (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX runs_agent ON runs (agent_id, created_at, id);
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX runs_by_outcome ON runs (outcome, created_at, id) WHERE outcome IS NOT NULL;
CREATE INDEX runs_executing ON runs (device_id, agent_id) WHERE state IN ('PREPARING', 'RUNNING');
CREATE INDEX runs_history ON runs (agent_id, completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX runs_late ON runs (start_deadline_at) WHERE state = 'QUEUED' AND start_deadline_at IS NOT NULL;
CREATE INDEX runs_lease ON runs (lease_expires_at) WHERE state IN ('PREPARING', 'RUNNING');
CREATE INDEX runs_needy ON runs (eligible_at) WHERE state = 'QUEUED' AND needs <> '[]';
CREATE INDEX runs_of_schedule ON runs (schedule_id) WHERE schedule_id IS NOT NULL AND state IN ('QUEUED',
    'PREPARING', 'RUNNING', 'PAUSED');
CREATE UNIQUE INDEX runs_one_waiting ON runs (queue_slot) WHERE state = 'QUEUED' AND fence = 0 AND
    queue_slot IS NOT NULL;
CREATE INDEX runs_paused ON runs (agent_id, pause_reason) WHERE state = 'PAUSED';
CREATE INDEX runs_queued ON runs (device_id, trigger_kind) WHERE state = 'QUEUED';
CREATE INDEX runs_ready ON runs (eligible_at, id) WHERE state = 'QUEUED';
CREATE INDEX runs_remembered ON runs (completed_at) WHERE completed_at IS NOT NULL AND forgotten_at IS NULL;
CREATE INDEX runs_unmeasured ON runs (completed_at) WHERE completed_at IS NOT NULL AND measured_at IS NULL;
CREATE TABLE schedule_fires (
    schedule_id TEXT NOT NULL, fire_at BIGINT NOT NULL, first_at BIGINT NOT NULL,
    missed_count BIGINT DEFAULT 0 NOT NULL, decision TEXT NOT NULL, reason TEXT, run_id TEXT,
    decided_at BIGINT NOT NULL,
    CONSTRAINT pk_schedule_fires PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT ck_schedule_fires_decision CHECK (decision IN ('run', 'coalesced', 'skipped_overlap',
        'skipped_window', 'skipped_paused', 'skipped_exhausted', 'dropped_queue_full', 'deferred', 'woken',
        'wake_failed')),
    CONSTRAINT ck_schedule_fires_missed_count CHECK (missed_count >= 0),
    CONSTRAINT ck_schedule_fires_first_at CHECK (first_at <= fire_at),
    CONSTRAINT fk_schedule_fires_schedule_id FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE
        CASCADE
) WITHOUT ROWID, STRICT;
CREATE INDEX schedule_fires_decided ON schedule_fires (decided_at);
CREATE INDEX schedule_fires_run ON schedule_fires (run_id) WHERE run_id IS NOT NULL;
CREATE TABLE wakes (
    id TEXT NOT NULL, schedule_id TEXT NOT NULL, agent_id TEXT NOT NULL, fire_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL, state TEXT DEFAULT 'waiting' NOT NULL, reason TEXT,
    sends BIGINT DEFAULT 0 NOT NULL, next_at BIGINT NOT NULL, sent_at BIGINT, settled_at BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_wakes PRIMARY KEY (id),
    CONSTRAINT uq_wakes_schedule_id_fire_at UNIQUE (schedule_id, fire_at),
    CONSTRAINT ck_wakes_state CHECK (state IN ('waiting', 'sent', 'deferred', 'acknowledged', 'failed',
        'skipped')),
    CONSTRAINT ck_wakes_ends_at CHECK (fire_at < ends_at),
    CONSTRAINT ck_wakes_settled_at CHECK ((state IN ('acknowledged', 'failed', 'skipped')) = (settled_at IS
        NOT NULL)),
    CONSTRAINT fk_wakes_schedule_id FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE CASCADE,
    CONSTRAINT fk_wakes_agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX wakes_agent ON wakes (agent_id, fire_at);
CREATE INDEX wakes_due ON wakes (next_at) WHERE state IN ('waiting', 'sent', 'deferred');
CREATE INDEX wakes_settled ON wakes (settled_at) WHERE settled_at IS NOT NULL;
CREATE TABLE run_state_history (
    run_id TEXT NOT NULL, seq BIGINT NOT NULL, old_state TEXT, new_state TEXT NOT NULL,
    attempt BIGINT NOT NULL, fence BIGINT NOT NULL, reason TEXT, actor TEXT NOT NULL, at BIGINT NOT NULL,
    CONSTRAINT pk_run_state_history PRIMARY KEY (run_id, seq),
    CONSTRAINT ck_run_state_history_new_state CHECK (new_state IN ('QUEUED', 'PREPARING', 'RUNNING',
        'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT fk_run_state_history_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE run_units (
    run_id TEXT NOT NULL, unit_key TEXT NOT NULL, content_hash TEXT NOT NULL, size_bytes BIGINT,
    state TEXT NOT NULL, attempts BIGINT DEFAULT 0 NOT NULL, calls_planned BIGINT DEFAULT 0 NOT NULL,
    calls_settled BIGINT DEFAULT 0 NOT NULL, truncated BOOLEAN DEFAULT false NOT NULL, error TEXT,
    read_at BIGINT, planned_at BIGINT, notes JSONB, items_known BIGINT DEFAULT 0 NOT NULL,
    awaits JSONB DEFAULT '[]' NOT NULL, is_behind BIGINT DEFAULT 0 NOT NULL, updated_at BIGINT NOT NULL,
    CONSTRAINT pk_run_units PRIMARY KEY (run_id, unit_key),
    CONSTRAINT ck_run_units_state CHECK (state IN ('PENDING', 'EXTRACTED', 'DONE', 'SKIPPED', 'FAILED')),
    CONSTRAINT ck_run_units_truncated CHECK (truncated IN (0, 1)),
    CONSTRAINT ck_run_units_calls_settled CHECK (calls_settled <= calls_planned),
    CONSTRAINT ck_run_units_done CHECK (state <> 'DONE' OR calls_settled = calls_planned),
    CONSTRAINT fk_run_units_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
) WITHOUT ROWID, STRICT;
CREATE TABLE run_calls (
    call_id TEXT NOT NULL, run_id TEXT NOT NULL, unit_key TEXT NOT NULL, ordinal BIGINT NOT NULL,
    target_table TEXT NOT NULL, action TEXT DEFAULT 'insert' NOT NULL, item_id TEXT, payload JSONB,
    state TEXT DEFAULT 'PLANNED' NOT NULL, sends BIGINT DEFAULT 0 NOT NULL, result JSONB,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_run_calls PRIMARY KEY (call_id),
    CONSTRAINT fk_run_calls_run_id_unit_key FOREIGN KEY(run_id, unit_key) REFERENCES run_units (run_id,
        unit_key) ON DELETE CASCADE,
    CONSTRAINT ck_run_calls_state CHECK (state IN ('PLANNED', 'SENT', 'ACKED', 'REJECTED', 'UNKNOWN'))
) STRICT;
CREATE INDEX run_calls_open ON run_calls (run_id, unit_key, ordinal) WHERE state IN ('PLANNED', 'SENT');
CREATE INDEX run_calls_unit ON run_calls (run_id, unit_key);
"""
