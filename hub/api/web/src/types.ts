// Written by 'make documents' from the OpenAPI document of the hub.
export type AgentBody = { "name": string; "title"?: string | null; "device"?: string | null; "user"?: string | null; "file_extensions"?: readonly (string)[]; "connector"?: string | null; "filter"?: { readonly [name: string]: unknown }; "paths"?: readonly (string)[] | null; "push"?: boolean; "data_types"?: readonly (string)[] | null; "prompt"?: string | null; "description"?: string | null; "type"?: ("COORDINATOR" | "ASSISTANT" | "RESEARCHER" | "DEVELOPER" | "DESIGNER" | "SPECIALIST" | "AUDITOR" | "CUSTOM" | "PLANNER" | "REVIEWER" | "MANAGER" | "TOOL_CURATOR" | "DEPLOYMENT") | (null); "template"?: string | null; "external_id"?: string | null; "instance_id"?: string | null; "project_id"?: string | null; "needs"?: readonly (string)[]; "capabilities"?: readonly (CapabilitySettings)[]; "locks"?: readonly (string)[]; "schedule"?: (string) | (ScheduleTable) | (null); "slots"?: readonly (SlotTable)[]; "config"?: { readonly [name: string]: unknown }; "timezone"?: string; "priority"?: number; "max_concurrent_runs"?: number; "allow_cloud"?: boolean; "outside"?: "mark" | "separate" | "drop"; "redact"?: readonly (string)[]; "batch"?: boolean; "learn"?: boolean; "budget_usd"?: number | null; "start"?: boolean };
export type AgentChanges = { "name"?: unknown; "title"?: unknown; "device"?: unknown; "file_extensions"?: unknown; "connector"?: unknown; "filter"?: unknown; "paths"?: unknown; "push"?: unknown; "data_types"?: unknown; "prompt"?: unknown; "description"?: unknown; "type"?: unknown; "template"?: unknown; "external_id"?: unknown; "instance_id"?: unknown; "project_id"?: unknown; "needs"?: unknown; "locks"?: unknown; "schedule"?: unknown; "slots"?: unknown; "config"?: unknown; "timezone"?: unknown; "priority"?: unknown; "max_concurrent_runs"?: unknown; "allow_cloud"?: unknown; "outside"?: unknown; "redact"?: unknown; "batch"?: unknown; "learn"?: unknown; "budget_usd"?: unknown };
export type AgentConfigEdit = { "configs"?: { readonly [name: string]: ConfigRequest }; "unset"?: readonly (string)[] };
export type AgentHistory = { "moves": readonly (AgentMoveView)[]; "next_cursor": string | null };
export type AgentMoveView = { "seq": number; "at": string; "axis": string; "before": string | null; "after": string; "reason": string | null; "actor": string; "snapshot": { readonly [name: string]: string }; "actor_name": string | null };
export type AgentOverview = { "agent": AgentView; "status": AgentStatusView; "slots": readonly (SlotView)[]; "runs": readonly (RunView)[]; "locks": readonly (LockView)[]; "capabilities": readonly (CapabilityView)[]; "config": readonly (string)[]; "checkpoints": readonly (CheckpointBrief)[]; "spend": SpendView; "series": number };
export type AgentStatusView = { "agent": string; "lifecycle": string; "availability": string; "connectivity": string; "health": string; "activity": string; "reported_connectivity": string | null; "health_reason": string | null; "state_detail": string | null; "exhaust_reason": string | null; "exhausted_at": string | null; "recovery_at": string | null; "probe_at": string | null; "runs_waiting": number; "runs_executing": number; "runs_running": number; "max_concurrent_runs": number; "last_heartbeat_at": string | null; "last_activity_at": string; "resource_usage": { readonly [name: string]: unknown }; "metadata": { readonly [name: string]: unknown }; "version": number; "axes": { readonly [name: string]: AxisView } };
export type AgentView = { "id": string; "name": string; "title": string | null; "user": string; "device": string; "delivers_to": string; "device_connected": boolean; "gateway": string | null; "connectivity": string; "paths": readonly (string)[]; "file_extensions": readonly (string)[]; "data_types": readonly (string)[]; "prompt": string; "schedule": string | null; "timezone": string; "source": "api" | "file"; "priority": number; "max_concurrent_runs": number; "description": string | null; "type": string; "subtype": string | null; "template": string | null; "external_id": string | null; "instance_id": string | null; "project_id": string | null; "needs": readonly (string)[]; "locks": readonly (string)[]; "config_rev": number; "lifecycle": string; "availability": string; "health": string; "health_reason": string | null; "recovery_at": string | null; "schedules": readonly (ScheduleView)[]; "next_fires": readonly (Upcoming)[]; "last_run": (RunView) | (null) };
export type Agents = { "agents": readonly (AgentView)[]; "next_cursor": string | null };
export type AgreementView = { "cause": "asked" | "first" | "hub_older" | "store_older" | "store_replaced"; "began_at": string; "agreed_at": string | null; "sent": number; "taken": number; "refused": number; "problem": string | null };
export type AnswerBody = { "answer": string };
export type Approval = { "code": string; "pairing_id"?: string | null; "name"?: string | null; "dry_run"?: boolean };
export type AuditBreak = { "seq": number; "what": string };
export type AuditCheckView = { "ok": boolean; "entries": number; "first_seq": number | null; "last_seq": number | null; "last_hash": string | null; "breaks": readonly (AuditBreak)[]; "more_breaks": number };
export type AuditEntryView = { "seq": number; "at": string; "actor": string; "event": string; "subject": string | null; "outcome": "done" | "refused"; "detail": { readonly [name: string]: unknown }; "prev_hash": string; "hash": string; "alias": string | null; "actor_name": string | null; "subject_name": string | null; "changes": readonly (KeyChange)[] };
export type AuditLog = { "entries": readonly (AuditEntryView)[]; "next_cursor": string | null };
export type AxisView = { "value": string; "since": string | null; "reason": string | null; "actor": string | null; "moves": readonly (string)[]; "actor_name": string | null };
export type BoardAgentView = { "id": string; "name": string; "is_lead": boolean; "device": string | null; "gateway": string | null; "availability": string; "connectivity": string; "joined_at": string };
export type BoardBody = { "name": string; "description"?: string | null; "gateway"?: string | null };
export type BoardChanges = { "name"?: string | null; "description"?: string | null; "gateway"?: string | null };
export type BoardDetail = { "members": readonly (BoardAgentView)[]; "id": string; "name": string; "user": string; "description": string | null; "gateway": string | null; "lead": string | null; "lead_id": string | null; "agents": number; "created_at": string; "updated_at": string };
export type BoardView = { "id": string; "name": string; "user": string; "description": string | null; "gateway": string | null; "lead": string | null; "lead_id": string | null; "agents": number; "created_at": string; "updated_at": string };
export type Boards = { "boards": readonly (BoardView)[]; "next_cursor": string | null };
export type Cancellation = { "reason"?: string };
export type CapabilitySettings = { "name": string; "version"?: string; "enabled"?: boolean | null; "config"?: { readonly [name: string]: unknown }; "description"?: string | null };
export type CapabilityView = { "name": string; "version": string; "enabled": boolean; "source": "api" | "device" | "file"; "config": { readonly [name: string]: unknown }; "description": string | null; "created_at": string; "updated_at": string };
export type ChartView = { "agent": string; "name": string; "type": "counter" | "gauge" | "histogram"; "agg": string; "since": string; "until": string; "step_s": number; "bucket_s": number; "error": number | null; "lines": readonly (LineView)[] };
export type CheckpointBrief = { "scope": string; "sequence": number; "is_recoverable": boolean; "updated_at": string };
export type ClientView = { "name": string; "version": string };
export type ConfigCheckView = { "ok": boolean; "problems": readonly (ProblemView)[]; "live": readonly (string)[]; "reconnect": readonly (string)[]; "restart": readonly (string)[]; "archived": readonly (string)[] };
export type ConfigDiffView = { "since": number; "until": number; "changes": readonly (KeyChange)[] };
export type ConfigEdit = { "text"?: string | null; "values"?: { readonly [name: string]: unknown }; "without"?: readonly (string)[] };
export type ConfigRequest = { "value": unknown; "type"?: (ConfigType) | (null); "description"?: string | null };
export type ConfigText = { "text"?: string | null; "values"?: { readonly [name: string]: unknown }; "without"?: readonly (string)[]; "folder"?: string | null };
export type ConfigType = "boolean" | "float" | "integer" | "json" | "string";
export type ConfigView = { "key": string; "type": ConfigType; "value": unknown; "description": string | null; "source": "api" | "file"; "created_at": string; "updated_at": string };
export type ConfigsChangedView = { "agent": string; "rev": number; "changed": readonly (string)[] };
export type ConfigsRequest = { "configs": { readonly [name: string]: ConfigRequest } };
export type ConfigurationView = { "agent": string; "rev": number; "configs": readonly (ConfigView)[]; "configuration": { readonly [name: string]: unknown } };
export type ConnectorDetail = { "unread": readonly (UnreadView)[]; "id": string; "name": string; "user": string; "provider": string; "account": string | null; "state": "blocked" | "failing" | "ok" | "sign_in" | "untested"; "code": string | null; "detail": string | null; "failures": number; "retry_at": string | null; "last_ok_at": string | null; "agents": readonly (string)[]; "way_in": ("browser" | "password") | (null) };
export type ConnectorView = { "id": string; "name": string; "user": string; "provider": string; "account": string | null; "state": "blocked" | "failing" | "ok" | "sign_in" | "untested"; "code": string | null; "detail": string | null; "failures": number; "retry_at": string | null; "last_ok_at": string | null; "agents": readonly (string)[]; "way_in": ("browser" | "password") | (null) };
export type Connectors = { "connectors": readonly (ConnectorView)[]; "next_cursor": string | null };
export type CostView = { "key": string; "agent": string | null; "calls": number; "failed": number; "requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "took_s": number };
export type DecisionView = { "first_at": string; "fire_at": string; "fires": number; "schedule": string; "decision": string; "reason": string | null; "said": string; "run": string | null; "decided_at": string };
export type DeviceDetail = { "id": string; "name": string; "user": string; "connected": boolean; "platform": string | null; "capabilities": readonly (string)[]; "created_at": string; "last_seen_at": string | null; "revoked_at": string | null; "grants": readonly (Grant)[]; "round_trip": (RoundTripView) | (null); "keys": readonly (KeyView)[]; "tokens": readonly (TokenView)[]; "agents": readonly (string)[]; "agreement": (AgreementView) | (null); "owner_grants": readonly (OwnerGrantView)[]; "client": (ClientView) | (null); "skew": string | null; "roots": readonly (string)[] };
export type DeviceTables = { "tables": readonly (TableView)[]; "next_cursor": string | null };
export type DeviceView = { "id": string; "name": string; "user": string; "connected": boolean; "platform": string | null; "capabilities": readonly (string)[]; "created_at": string; "last_seen_at": string | null; "revoked_at": string | null; "grants": readonly (Grant)[]; "round_trip": (RoundTripView) | (null) };
export type Devices = { "devices": readonly (DeviceView)[]; "next_cursor": string | null };
export type Excerpt = { "line": number; "before": string; "after": string };
export type FieldChoices = { "field": string; "table": string; "is_required": boolean; "rows": readonly (RowTitle)[] };
export type Fix = { "title": string; "command": string; "verb": "DELETE" | "GET" | "PATCH" | "POST" | "PUT"; "path": string; "scope": Scope; "body": { readonly [name: string]: unknown } | null; "is_final": boolean };
export type ForgottenView = { "name": string; "is_revoked": boolean };
export type FoundBy = "model" | "rule";
export type GivenVerdictView = { "verdict": "approve" | "edit" | "reject" | "undo"; "by": string; "actor": string; "state": "done" | "pending" | "refused" | "sent"; "created_at": string; "reason": string | null; "proposed_by": string | null };
export type Grant = "agents" | "connectors" | "coordination" | "files";
export type HubSeries = { "series": readonly (HubSeriesView)[]; "next_cursor": string | null };
export type HubSeriesView = { "name": string; "type": "counter" | "gauge" | "histogram"; "tags": { readonly [name: string]: string }; "node": string | null; "agg": string; "since": string; "until": string; "step_s": number; "whole": number | null; "values": readonly (number | null)[] };
export type InvitationRequest = { "device"?: string | null; "uses"?: number; "ttl_s"?: number | null };
export type InvitationView = { "id": string; "user": string; "device": string | null; "uses_left": number; "last4": string; "created_by": string; "created_at": string; "expires_at": string; "revoked_at": string | null };
export type Invitations = { "invitations": readonly (InvitationView)[]; "next_cursor": string | null };
export type IssueCounts = { "errors": number; "warnings": number; "notices": number };
export type IssueMuteView = { "key": string; "reason": string; "actor": string; "actor_name": string | null; "muted_at": string; "ends_at": string | null };
export type IssueView = { "id": string; "subject": string; "severity": "error" | "notice" | "warning"; "since": string; "explanation": string; "fix": string; "key": string; "fixes": readonly (Fix)[]; "is_stop": boolean; "muted": (IssueMuteView) | (null) };
export type Issues = { "issues": readonly (IssueView)[]; "next_cursor": string | null };
export type ItemChoices = { "is_asked": boolean; "fields": readonly (FieldChoices)[] };
export type ItemCounts = { "found": number; "approved": number; "rejected": number; "waiting": number };
export type ItemCountsView = { "total": number; "is_complete": boolean; "tables": { readonly [name: string]: number }; "devices": { readonly [name: string]: number }; "agents": { readonly [name: string]: number }; "warnings": { readonly [name: string]: number }; "folders": { readonly [name: string]: number } };
export type ItemDetail = { "id": string; "agent": string; "device": string | null; "run_id": string; "path": string; "table": string; "title": string; "provenance": (Provenance) | (null); "found_by": (FoundBy) | (null); "unsure": string | null; "warnings": readonly (string)[]; "verdict": "approved" | "edited" | "open" | "rejected"; "version": number; "row_id": string | null; "created_at": string; "answered_at": string | null; "verdict_at": string | null; "given": (GivenVerdictView) | (null); "device_refuses": ("call_unsupported" | "not_granted") | (null); "device_is_elsewhere": boolean; "needs_owner": boolean; "lacks": readonly (string)[]; "places": readonly (PlaceView)[]; "proposals": readonly (ProposalView)[]; "user": string | null; "quote": string | null; "excerpt": (Excerpt) | (null); "data": { readonly [name: string]: unknown }; "found": { readonly [name: string]: unknown } | null; "before": { readonly [name: string]: unknown } | null; "place": (ItemPlace) | (null); "reasons": readonly (string)[]; "fields": readonly (TableField)[] };
export type ItemPlace = { "quote": string; "start": number; "end": number; "sha256": string | null; "link": string | null; "excerpt": (Excerpt) | (null) };
export type ItemView = { "id": string; "agent": string; "device": string | null; "run_id": string; "path": string; "table": string; "title": string; "provenance": (Provenance) | (null); "found_by": (FoundBy) | (null); "unsure": string | null; "warnings": readonly (string)[]; "verdict": "approved" | "edited" | "open" | "rejected"; "version": number; "row_id": string | null; "created_at": string; "answered_at": string | null; "verdict_at": string | null; "given": (GivenVerdictView) | (null); "device_refuses": ("call_unsupported" | "not_granted") | (null); "device_is_elsewhere": boolean; "needs_owner": boolean; "lacks": readonly (string)[]; "places": readonly (PlaceView)[]; "proposals": readonly (ProposalView)[]; "user": string | null; "quote": string | null; "excerpt": (Excerpt) | (null); "data": { readonly [name: string]: unknown } | null };
export type ItemsPage = { "items": readonly (ItemView)[]; "next_cursor": string | null };
export type KeyChange = { "key": string; "old": string | null; "new": string | null };
export type KeyView = { "fingerprint": string; "created_at": string; "last_used_at": string | null; "revoked_at": string | null };
export type Kind = "epoch_ms" | "flag" | "names" | "number" | "text";
export type Lead = { "agent": string | null };
export type LimitsView = { "devices"?: readonly (string)[]; "tables"?: readonly (string)[]; "roots"?: readonly (string)[] };
export type LineView = { "tag": string | null; "whole": number | null; "points": readonly (PointView)[] };
export type LockHolderView = { "kind": "agent" | "device" | "run"; "id": string; "agent": string | null; "device": string | null };
export type LockView = { "resource": string; "user": string; "fence": number; "holder": (LockHolderView) | (null); "since": string | null; "until": string | null; "waiting": readonly (LockWaitView)[] };
export type LockWaitView = { "holder": LockHolderView; "since": string; "until": string | null };
export type LogEntries = { "entries": readonly (LogView)[]; "next_cursor": string | null };
export type LogView = { "seq": number; "at": string; "level": "debug" | "error" | "info" | "warning"; "event": string; "meaning": string | null; "channel": string; "fields": { readonly [name: string]: unknown } };
export type MeView = { "actor": string; "name": string; "role": (Role) | (null); "scopes": readonly (Scope)[]; "user": string | null; "limits": (LimitsView) | (null) };
export type Measurements = { "series": readonly (SeriesView)[]; "next_cursor": string | null };
export type Memory = { "memory": readonly (MemoryView)[]; "next_cursor": string | null };
export type MemoryBody = { "content": string; "tags"?: readonly (string)[]; "is_chat"?: boolean; "source"?: string | null; "correlation_id"?: string | null; "reply_to"?: string | null };
export type MemoryView = { "id": string; "board": string; "board_id": string; "content": string; "tags": readonly (string)[]; "is_chat": boolean; "source": string | null; "correlation_id": string | null; "reply_to": string | null; "agent": string | null; "agent_id": string | null; "actor": string; "actor_name": string | null; "created_at": string };
export type MessageDetail = { "id": string; "user": string; "content": string; "correlation_id": string | null; "trace_id": string; "created_at": string; "settled_at": string | null; "kind": MessageKind; "board": string | null; "board_id": string | null; "broadcast_id": string | null; "from_agent": string | null; "from_agent_id": string | null; "sent_by": string; "agent": string | null; "agent_id": string | null; "to_lead": boolean; "gateway": string | null; "device": string | null; "deliver": boolean; "queue_mode": string | null; "reply_to": string | null; "question_id": string | null; "state": MessageState; "attempt": number; "sends": number; "waiting_for": string | null; "reason_code": string | null; "reason": string | null; "answer": string | null; "memory_id": string | null; "updated_at": string; "next_look_at": string | null; "expires_at": string; "key": string; "moves": readonly (MessageMoveView)[] };
export type MessageKind = "answer" | "ask_user" | "handoff" | "nudge" | "question";
export type MessageMoveView = { "old_state": (MessageState) | (null); "new_state": MessageState; "attempt": number; "proof": { readonly [name: string]: unknown }; "reason": string | null; "at": string };
export type MessageState = "accepted" | "answered" | "consumed" | "expired" | "failed" | "interrupted" | "queued" | "sent" | "waiting";
export type MessageView = { "id": string; "user": string; "content": string; "correlation_id": string | null; "trace_id": string; "created_at": string; "settled_at": string | null; "kind": MessageKind; "board": string | null; "board_id": string | null; "broadcast_id": string | null; "from_agent": string | null; "from_agent_id": string | null; "sent_by": string; "agent": string | null; "agent_id": string | null; "to_lead": boolean; "gateway": string | null; "device": string | null; "deliver": boolean; "queue_mode": string | null; "reply_to": string | null; "question_id": string | null; "state": MessageState; "attempt": number; "sends": number; "waiting_for": string | null; "reason_code": string | null; "reason": string | null; "answer": string | null; "memory_id": string | null; "updated_at": string; "next_look_at": string | null; "expires_at": string };
export type Messages = { "messages": readonly (MessageView)[]; "next_cursor": string | null };
export type MoveView = { "at": string; "before": (RunState) | (null); "after": RunState; "actor": string; "actor_name": string | null; "reason": string | null; "because": string | null };
export type MuteRequest = { "reason": string; "until"?: string | null };
export type NewInvitation = { "id": string; "user": string; "device": string | null; "uses_left": number; "last4": string; "created_by": string; "created_at": string; "expires_at": string; "revoked_at": string | null; "token": string };
export type NewMember = { "agent": string; "is_lead"?: boolean };
export type NewName = { "name": string };
export type NewVerdictView = { "id": string; "verdict": "approve" | "edit" | "reject" | "undo"; "data"?: { readonly [name: string]: unknown }; "version"?: number | null; "proposal"?: string | null };
export type NewVerdictsView = { "verdicts": readonly (NewVerdictView)[] };
export type NudgeBody = { "content"?: string; "deliver"?: boolean; "queue_mode"?: string | null; "correlation_id"?: string | null; "message"?: string };
export type OwnerGrantView = { "name": string; "tables": readonly (string)[] };
export type PairedView = { "pairing": PairingView; "device": string; "user": string; "dry_run": boolean };
export type PairingView = { "id": string; "fingerprint": string; "label": string; "platform": string; "network": string; "created_at": string; "expires_at": string; "decision": ("approved" | "denied") | (null); "decided_at": string | null; "decided_by": string | null; "revoked_at": string | null };
export type Pairings = { "pairings": readonly (PairingView)[]; "next_cursor": string | null };
export type Password = { "password": string };
export type Pasted = { "address": string };
export type PlaceView = { "name": string; "kind": string; "state": string; "since": string; "sentence": string; "problem": string | null; "link": string | null };
export type PlanView = { "id": string; "agent": string; "label": string | null; "times": string; "timezone": string; "enabled": boolean; "paused_because": string | null; "past_fires": readonly (DecisionView)[]; "next_fires": readonly (Upcoming)[]; "is_cut": boolean };
export type Plans = { "schedules": readonly (PlanView)[]; "next_cursor": string | null };
export type PointView = { "at": string; "value": number | null; "n": number };
export type PresenceInterval = { "since": string; "until": string | null };
export type PresenceView = { "since": string; "is_known": boolean; "intervals": readonly (PresenceInterval)[]; "is_cut": boolean };
export type Problem = { "type": string; "title": string; "status": number; "detail": string; "code": "internal" | "bad_frame" | "too_large" | "unknown_type" | "wrong_state" | "duplicate_id" | "credit_exceeded" | "too_many_requests" | "unknown_method" | "bad_params" | "hello_timeout" | "heartbeat_silent" | "auth_failed" | "token_in_url" | "revoked" | "pairing_required" | "pairing_denied" | "too_many_pairings" | "version_unsupported" | "rate_limited" | "overloaded" | "too_many_connections" | "untrusted_proxy" | "replaced" | "slow_consumer" | "stopping" | "restarting" | "device_offline" | "device_gone" | "device_slow" | "device_error" | "too_many_calls" | "call_timed_out" | "call_unsupported" | "result_too_large" | "cancelled" | "busy" | "nothing_shared" | "unknown_table" | "bad_record" | "unknown_agent" | "unknown_device" | "unknown_run" | "unknown_item" | "unknown_token" | "unknown_user" | "unknown_pairing" | "unknown_invitation" | "limit_reached" | "name_taken" | "managed_by_file" | "illegal_transition" | "stale_run" | "bad_settings" | "bad_schedule" | "database_busy" | "database_conflict" | "database_unavailable" | "row_unreadable" | "database_from_the_future" | "backup_refused" | "file_changed" | "file_incomplete" | "not_convertible" | "model_unavailable" | "model_refused" | "model_exhausted" | "model_answer_invalid" | "model_answer_cut_off" | "budget_reached" | "unknown_effect" | "forbidden" | "not_granted" | "wrong_host" | "foreign_origin" | "bad_content_type" | "changed_meanwhile" | "verdict_under_way" | "key_used" | "bad_status" | "unknown_template" | "template_in_use" | "bad_config" | "unknown_config" | "unknown_capability" | "unknown_node" | "node_unreachable" | "unknown_lock" | "lock_held" | "lock_lost" | "lock_timed_out" | "unknown_metric" | "too_many_series" | "unknown_checkpoint" | "stale_checkpoint" | "unknown_gateway" | "unknown_board" | "unknown_message" | "unknown_question" | "unknown_broadcast" | "unknown_memory" | "no_gateway" | "no_lead" | "no_session" | "not_gateway_main" | "not_your_board" | "question_settled" | "message_settled" | "soul_conflict" | "unknown_soul_version" | "soul_busy" | "gateway_refused" | "gateway_forbidden" | "gateway_invalid" | "gateway_unreachable" | "gateway_timed_out" | "unknown_target" | "unknown_connector" | "sign_in_needed" | "sign_in_failed" | "provider_forbidden" | "provider_busy" | "provider_quota" | "provider_unavailable" | "bad_connector" | "cursor_lost" | "message_unreadable" | "bad_signature" | "address_refused"; "retryable": boolean; "hint": string; "fields"?: { readonly [name: string]: string } };
export type ProblemView = { "file": string; "line": number; "column": number; "path": string; "message": string; "hint": string; "severity": "error" | "warning" };
export type ProposalIds = { "proposals": readonly (string)[] };
export type ProposalResult = { "item": string | null; "id": string | null; "state": ("accepted" | "declined" | "open" | "withdrawn") | (null); "error": (VerdictError) | (null) };
export type ProposalResults = { "results": readonly (ProposalResult)[] };
export type ProposalView = { "id": string; "item": string; "verdict": "approve" | "edit" | "reject"; "why": string; "by": string; "actor": string; "created_at": string; "data": { readonly [name: string]: unknown } };
export type Provenance = { "origin": ProvenanceOrigin; "author": string | null; "trusted": boolean };
export type ProvenanceOrigin = "attachment" | "calendar" | "chat" | "mail" | "own" | "shared" | "web";
export type QuestionCounts = { "asked": number; "open": number };
export type QuestionState = "answered" | "expired" | "open" | "withdrawn";
export type QuestionView = { "id": string; "user": string; "content": string; "correlation_id": string | null; "trace_id": string; "created_at": string; "settled_at": string | null; "board": string | null; "board_id": string | null; "agent": string | null; "asked_by": string; "preferred_channel": string | null; "reply_tags": readonly (string)[]; "reply_source": string; "state": QuestionState; "answer": string | null; "answered_by": string | null; "memory_id": string | null; "message_id": string | null; "main_agent_id": string | null; "main_agent": string | null; "main_agent_name": string | null; "expires_at": string };
export type QuestionsPage = { "questions": readonly (QuestionView)[]; "next_cursor": string | null };
export type Reason = { "agent": string; "device": string | null; "path": string; "lines": string; "code": string; "because": string; "remedy": string; "run_id": string | null; "table": string | null; "item_id": string | null; "title": string; "found_by": string | null };
export type Reasons = { "reasons": readonly (Reason)[] };
export type ReloadView = { "generation": number; "live": readonly (string)[]; "reconnect": readonly (string)[]; "restart": readonly (string)[]; "archived": readonly (string)[]; "warnings": readonly (ProblemView)[] };
export type RememberedView = { "answered_message": string | null; "answered_question": string | null; "id": string; "board": string; "board_id": string; "content": string; "tags": readonly (string)[]; "is_chat": boolean; "source": string | null; "correlation_id": string | null; "reply_to": string | null; "agent": string | null; "agent_id": string | null; "actor": string; "actor_name": string | null; "created_at": string };
export type ReportRequest = { "samples": readonly (SampleRequest)[]; "report_id"?: string | null };
export type ReportedView = { "taken": number; "known": number };
export type Resumption = { "catch_up"?: boolean };
export type Role = "admin" | "operator" | "viewer";
export type RoundTripView = { "ms": number; "measured_at": string };
export type RowTitle = { "id": string; "title": string };
export type RunCounts = { "success": number; "partial": number; "failed": number; "cancelled": number };
export type RunCountsView = { "total": number; "states": { readonly [name: string]: number }; "outcomes": { readonly [name: string]: number }; "is_complete": boolean };
export type RunDetail = { "id": string; "agent": string; "device": string; "trigger": string; "state": RunState; "outcome": (RunOutcome) | (null); "reason": string | null; "because": string | null; "fix": string | null; "waiting_for": string | null; "is_pausing": boolean; "missed": number; "missed_because": string | null; "attempt": number; "units_total": number; "units_done": number; "units_skipped": number; "left_out": { readonly [name: string]: number }; "units_failed": number; "units_left": number; "items_created": number; "error_count": number; "model_requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "items_updated": number; "items_known": number; "task_id": string | null; "progress": number; "message": string | null; "fire_at": string | null; "created_at": string; "started_at": string | null; "completed_at": string | null; "folded": number; "folded_since": string | null; "as_of": string; "priority": number; "max_attempts": number; "dispatches": number; "crashes": number; "rerun_of": string | null; "trace_id": string | null; "cancel_requested_at": string | null; "cancel_reason": string | null; "needs": readonly (string)[]; "locks": readonly (string)[]; "settings": { readonly [name: string]: unknown }; "parameters": { readonly [name: string]: unknown }; "context": { readonly [name: string]: unknown }; "result": { readonly [name: string]: unknown } | null; "units": readonly (UnitView)[]; "errors": readonly (RunErrorView)[]; "history": readonly (MoveView)[] };
export type RunErrorView = { "attempt": number | null; "path": string | null; "code": string; "message": string; "at": string };
export type RunOutcome = "error" | "partial" | "success";
export type RunRequest = { "needs"?: readonly (string)[]; "locks"?: readonly (string)[]; "parameters"?: { readonly [name: string]: unknown }; "context"?: { readonly [name: string]: unknown }; "task_id"?: string | null };
export type RunState = "CANCELLED" | "COMPLETED" | "FAILED" | "PAUSED" | "PREPARING" | "QUEUED" | "RUNNING";
export type RunView = { "id": string; "agent": string; "device": string; "trigger": string; "state": RunState; "outcome": (RunOutcome) | (null); "reason": string | null; "because": string | null; "fix": string | null; "waiting_for": string | null; "is_pausing": boolean; "missed": number; "missed_because": string | null; "attempt": number; "units_total": number; "units_done": number; "units_skipped": number; "left_out": { readonly [name: string]: number }; "units_failed": number; "units_left": number; "items_created": number; "error_count": number; "model_requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "items_updated": number; "items_known": number; "task_id": string | null; "progress": number; "message": string | null; "fire_at": string | null; "created_at": string; "started_at": string | null; "completed_at": string | null; "folded": number; "folded_since": string | null };
export type Runs = { "runs": readonly (RunView)[]; "next_cursor": string | null };
export type SampleRequest = { "agent_id"?: string | null; "name": string; "type"?: ("counter" | "gauge" | "histogram") | (null); "value": number; "tags"?: { readonly [name: string]: string }; "at_ms"?: number | null };
export type ScheduleTable = { "cron"?: string | null; "every_s"?: number | null; "at"?: string | null; "overlap"?: "skip" | "queue_one" | "queue_all" | "cancel_running" | "allow"; "catch_up"?: "latest" | "earliest" | "all" | "none"; "catch_up_window_s"?: number | null; "max_catch_up"?: number; "jitter_s"?: number | null; "exact"?: boolean; "start_deadline_s"?: number | null; "run_timeout_s"?: number | null; "max_attempts"?: number; "pause_after_failures"?: number; "on_first_connect"?: boolean };
export type ScheduleView = { "id": string; "kind": "at" | "cron" | "every"; "expr": string | null; "every_s": number | null; "at": string | null; "said": string; "timezone": string; "overlap": string; "enabled": boolean; "paused_reason": string | null; "paused_because": string | null; "catch_up": "all" | "earliest" | "latest" | "none"; "catch_up_window_s": number | null; "max_catch_up": number; "jitter_s": number; "offset_s": number; "start_deadline_s": number | null; "run_timeout_s": number; "max_attempts": number; "pause_after_failures": number; "consecutive_failures": number; "on_first_connect": boolean; "first_connect": ("awaited" | "done" | "due") | (null); "next_fires": readonly (Upcoming)[] };
export type Scope = "answer" | "audit" | "devices" | "read" | "review" | "rows" | "run" | "settings" | "system" | "tokens";
export type SelfTestView = { "provider": string; "is_ok": boolean; "steps": readonly (StepView)[] };
export type SeriesView = { "name": string; "type": "counter" | "gauge" | "histogram"; "tags": { readonly [name: string]: string }; "last": number | null; "last_at": string };
export type SessionView = { "id": string; "last4": string; "created_by": string; "created_at": string; "expires_at": string; "last_used_at": string | null; "revoked_at": string | null; "name": string; "role": Role; "scopes": readonly (Scope)[]; "user": string | null; "limits": (LimitsView) | (null); "opened_at": string | null };
export type Sessions = { "sessions": readonly (SessionView)[]; "next_cursor": string | null };
export type SettingsChangeView = { "key": string; "old": string | null; "new": string | null; "generation": number; "at": string; "actor": string; "actor_name": string | null; "source": ("edit" | "file" | "revert" | "revision" | "start") | (null); "node": string | null; "revision": number | null };
export type SettingsHistory = { "changes": readonly (SettingsChangeView)[]; "next_cursor": string | null };
export type SettingsRevert = { "generation"?: number | null; "key"?: string | null };
export type SettingsView = { "generation": number; "tag": string; "file": string; "text": string; "settings": { readonly [name: string]: unknown }; "origins": { readonly [name: string]: string }; "waiting": readonly (string)[]; "refused": readonly (ProblemView)[]; "on_last_good": boolean; "revision": number | null };
export type SignInRequest = { "way"?: ("code" | "device" | "paste") | (null) };
export type SignInView = { "id": string; "connector": string; "way": "code" | "device" | "paste"; "url": string | null; "user_code": string | null; "outcome": ("done" | "failed") | (null); "problem": string | null; "expires_at": string };
export type SlotTable = { "cron"?: string | null; "every_s"?: number | null; "at"?: string | null; "overlap"?: "skip" | "queue_one" | "queue_all" | "cancel_running" | "allow"; "catch_up"?: "latest" | "earliest" | "all" | "none"; "catch_up_window_s"?: number | null; "max_catch_up"?: number; "jitter_s"?: number | null; "exact"?: boolean; "label": string; "duration_s": number };
export type SlotTimeView = { "starts_at": string; "ends_at": string; "local": string; "shift": string | null };
export type SlotView = { "id": string; "kind": "at" | "cron" | "every"; "expr": string | null; "every_s": number | null; "at": string | null; "said": string; "timezone": string; "overlap": string; "enabled": boolean; "paused_reason": string | null; "paused_because": string | null; "label": string; "duration_s": number; "next_times": readonly (SlotTimeView)[] };
export type SpanView = { "id": string; "parent": string | null; "kind": "call" | "model" | "run" | "state" | "unit"; "name": string; "path": string | null; "outcome": string | null; "started_at": string; "ended_at": string | null; "read_at": string | null; "planned_at": string | null; "items": number | null; "prompt_tokens": number | null; "completion_tokens": number | null; "usd": number | null; "sends": number | null; "ref": string };
export type SpendView = { "day": CostView; "month": CostView };
export type SpentView = { "requests": number; "usd": number; "is_part": boolean };
export type StatusView = { "name": string; "hub_id": string; "key": string; "version": string; "uptime_s": number; "state": "draining" | "running"; "devices_known": number | null; "devices_connected": number | null; "devices_here": number; "gateways_known": number; "gateways_ready": number; "agents": number | null; "runs": { readonly [name: string]: number } | null; "model": string | null; "listeners": { readonly [name: string]: string }; "database": string; "worst": readonly (IssueView)[]; "pairing": readonly (string)[]; "issues": IssueCounts; "config_generation": number };
export type StepView = { "step": string; "is_ok": boolean; "told": string; "took_ms": number };
export type SummaryView = { "since": string; "until": string; "runs": RunCounts; "items": ItemCounts; "questions": QuestionCounts; "pairings": number; "issues": IssueCounts; "costs": SpentView };
export type TableField = { "name": string; "kind": Kind; "about": string; "is_required": boolean; "is_needed": boolean; "choices": readonly (string)[]; "refers_to": string | null };
export type TableView = { "name": string; "about": string; "is_built_in": boolean; "title": string; "key": readonly (string)[]; "fields": readonly (TableField)[] };
export type TemplateView = { "id": string; "name": string; "description": string | null; "type": string; "configuration_schema": { readonly [name: string]: unknown }; "default_configuration": { readonly [name: string]: unknown }; "prompt": string | null; "source": "api" | "file"; "version": number; "agents": readonly (string)[] };
export type Templates = { "templates": readonly (TemplateView)[]; "next_cursor": string | null };
export type TokenView = { "id": string; "device": string; "user": string; "last4": string | null; "created_by": string | null; "created_at": string; "expires_at": string | null; "last_used_at": string | null; "revoked_at": string | null };
export type Traces = { "spans": readonly (SpanView)[]; "next_cursor": string | null };
export type UnitState = "DONE" | "EXTRACTED" | "FAILED" | "PENDING" | "SKIPPED";
export type UnitView = { "path": string; "state": UnitState; "size_bytes": number | null; "attempts": number; "items": number; "items_planned": number; "began_at": string | null; "read_at": string | null; "planned_at": string | null; "settled_at": string | null; "error": string | null; "notes": { readonly [name: string]: (number) | ({ readonly [name: string]: number }) } };
export type UnitsPage = { "units": readonly (UnitView)[]; "next_cursor": string | null; "left_out": { readonly [name: string]: number } };
export type UnreadView = { "agent": string; "message": string; "state": string; "attempts": number; "reason": string | null; "at": string };
export type Upcoming = { "at": string; "local": string; "shift": string | null };
export type VerdictError = { "code": string; "message": string; "status": number; "version": number | null };
export type VerdictResult = { "id": string; "state": ("done" | "open" | "pending" | "refused" | "sent") | (null); "reason": string | null; "error": (VerdictError) | (null) };
export type VerdictResults = { "results": readonly (VerdictResult)[] };

export interface Get {
  "/docs": { query: never; body: undefined; answer: string };
  "/v1/agents": { query: "activity" | "as" | "availability" | "capability" | "connectivity" | "cursor" | "health" | "lifecycle" | "limit" | "project_id" | "state_detail" | "status" | "type" | "user"; body: undefined; answer: Agents };
  "/v1/agents/{name}": { query: "user"; body: undefined; answer: AgentView };
  "/v1/agents/{name}/config": { query: "user"; body: undefined; answer: ConfigurationView };
  "/v1/agents/{name}/history": { query: "axis" | "cursor" | "limit" | "user"; body: undefined; answer: AgentHistory };
  "/v1/agents/{name}/metrics": { query: "cursor" | "limit" | "user"; body: undefined; answer: Measurements };
  "/v1/agents/{name}/metrics/{metric}": { query: "agg" | "by" | "since" | "step_s" | "tag" | "until" | "user"; body: undefined; answer: ChartView };
  "/v1/agents/{name}/overview": { query: "user"; body: undefined; answer: AgentOverview };
  "/v1/audit": { query: "actor" | "cursor" | "event" | "limit" | "order" | "since" | "subject" | "until"; body: undefined; answer: AuditLog };
  "/v1/audit/verify": { query: "known"; body: undefined; answer: AuditCheckView };
  "/v1/boards": { query: "cursor" | "limit" | "user"; body: undefined; answer: Boards };
  "/v1/boards/{board}": { query: "user"; body: undefined; answer: BoardDetail };
  "/v1/boards/{board}/agents": { query: "user"; body: undefined; answer: BoardDetail };
  "/v1/boards/{board}/memory": { query: "correlation_id" | "cursor" | "is_chat" | "limit" | "reply_to" | "source" | "tag" | "user"; body: undefined; answer: Memory };
  "/v1/changes": { query: "user"; body: undefined; answer: string };
  "/v1/config": { query: "user"; body: undefined; answer: SettingsView };
  "/v1/config/diff": { query: "since" | "until" | "user"; body: undefined; answer: ConfigDiffView };
  "/v1/config/history": { query: "cursor" | "key" | "limit" | "user"; body: undefined; answer: SettingsHistory };
  "/v1/config/schema": { query: never; body: undefined; answer: { readonly [name: string]: unknown } };
  "/v1/connectors": { query: "cursor" | "limit" | "user"; body: undefined; answer: Connectors };
  "/v1/connectors/{connector}": { query: "user"; body: undefined; answer: ConnectorDetail };
  "/v1/connectors/{connector}/sign-in/{sign_in}": { query: "user"; body: undefined; answer: SignInView };
  "/v1/devices": { query: "cursor" | "limit" | "user"; body: undefined; answer: Devices };
  "/v1/devices/{device_id}": { query: "user"; body: undefined; answer: DeviceDetail };
  "/v1/devices/{device_id}/presence": { query: "since" | "user"; body: undefined; answer: PresenceView };
  "/v1/invitations": { query: "cursor" | "limit" | "user"; body: undefined; answer: Invitations };
  "/v1/issues": { query: "anew" | "cursor" | "limit" | "muted" | "online" | "user"; body: undefined; answer: Issues };
  "/v1/items": { query: "agent" | "apart" | "cursor" | "detail" | "device" | "due_since" | "due_until" | "limit" | "path" | "person" | "project" | "proposed" | "q" | "run" | "since" | "table" | "text" | "user" | "values" | "verdict" | "warning"; body: undefined; answer: ItemsPage };
  "/v1/items/counts": { query: "agent" | "apart" | "device" | "path" | "proposed" | "run" | "since" | "table" | "text" | "user" | "verdict" | "warning"; body: undefined; answer: ItemCountsView };
  "/v1/items/{item_id}": { query: "user"; body: undefined; answer: ItemDetail };
  "/v1/items/{item_id}/choices": { query: "user"; body: undefined; answer: ItemChoices };
  "/v1/logs": { query: "cursor" | "device" | "follow" | "level" | "limit" | "run" | "since" | "until"; body: undefined; answer: LogEntries };
  "/v1/me": { query: "user"; body: undefined; answer: MeView };
  "/v1/messages": { query: "agent" | "board" | "broadcast_id" | "correlation_id" | "cursor" | "limit" | "state" | "user"; body: undefined; answer: Messages };
  "/v1/messages/{message_id}": { query: "user"; body: undefined; answer: MessageDetail };
  "/v1/metrics/series": { query: "cursor" | "limit" | "name" | "since" | "step_s" | "until" | "user"; body: undefined; answer: HubSeries };
  "/v1/pairings": { query: "cursor" | "limit" | "user"; body: undefined; answer: Pairings };
  "/v1/questions": { query: "board" | "correlation_id" | "cursor" | "limit" | "state" | "user"; body: undefined; answer: QuestionsPage };
  "/v1/runs": { query: "agent" | "cursor" | "device" | "limit" | "outcome" | "since" | "state" | "task_id" | "text" | "until" | "user"; body: undefined; answer: Runs };
  "/v1/runs/counts": { query: "agent" | "device" | "outcome" | "since" | "state" | "task_id" | "text" | "until" | "user"; body: undefined; answer: RunCountsView };
  "/v1/runs/{run_id}": { query: "user"; body: undefined; answer: RunDetail };
  "/v1/runs/{run_id}/trace": { query: "cursor" | "limit" | "user"; body: undefined; answer: Traces };
  "/v1/runs/{run_id}/units": { query: "cursor" | "limit" | "state" | "user"; body: undefined; answer: UnitsPage };
  "/v1/schedule": { query: "cursor" | "limit" | "since" | "until" | "user"; body: undefined; answer: Plans };
  "/v1/sessions": { query: "cursor" | "limit" | "user"; body: undefined; answer: Sessions };
  "/v1/status": { query: "user"; body: undefined; answer: StatusView };
  "/v1/summary": { query: "since" | "user"; body: undefined; answer: SummaryView };
  "/v1/tables": { query: "cursor" | "limit" | "user"; body: undefined; answer: DeviceTables };
  "/v1/templates": { query: "cursor" | "limit" | "user"; body: undefined; answer: Templates };
  "/v1/why": { query: "agent" | "device" | "line" | "path" | "user"; body: undefined; answer: Reasons };
}

export interface Post {
  "/v1/agents": { query: "user"; body: AgentBody; answer: AgentView };
  "/v1/agents/{name}/metrics": { query: "user"; body: ReportRequest; answer: ReportedView };
  "/v1/agents/{name}/pause": { query: "user"; body: undefined; answer: AgentView };
  "/v1/agents/{name}/resume": { query: "user"; body: Resumption | undefined; answer: AgentView };
  "/v1/agents/{name}/runs": { query: "user"; body: RunRequest | undefined; answer: RunView };
  "/v1/boards": { query: "user"; body: BoardBody; answer: BoardDetail };
  "/v1/boards/{board}/agents": { query: "user"; body: NewMember; answer: BoardDetail };
  "/v1/boards/{board}/agents/{agent}/nudge": { query: "user" | "wait_s"; body: NudgeBody; answer: MessageView };
  "/v1/boards/{board}/memory": { query: "user"; body: MemoryBody; answer: RememberedView };
  "/v1/config/check": { query: "user"; body: ConfigText; answer: ConfigCheckView };
  "/v1/config/revert": { query: "user"; body: SettingsRevert; answer: ReloadView };
  "/v1/connectors/{connector}/retry": { query: "user"; body: undefined; answer: ConnectorDetail };
  "/v1/connectors/{connector}/sign-in": { query: "user"; body: SignInRequest; answer: SignInView };
  "/v1/connectors/{connector}/sign-in/answer": { query: "user"; body: Pasted; answer: SignInView };
  "/v1/connectors/{connector}/test": { query: "user"; body: undefined; answer: SelfTestView };
  "/v1/devices/{device_id}/kick": { query: "user"; body: undefined; answer: DeviceView };
  "/v1/devices/{device_id}/revoke": { query: "user"; body: undefined; answer: DeviceView };
  "/v1/invitations": { query: "user"; body: InvitationRequest; answer: NewInvitation };
  "/v1/issues/{key}/mute": { query: "user"; body: MuteRequest; answer: IssueMuteView };
  "/v1/issues/{key}/unmute": { query: "user"; body: undefined; answer: IssueMuteView };
  "/v1/items/proposals/declined": { query: "user"; body: ProposalIds; answer: ProposalResults };
  "/v1/items/verdicts": { query: "user"; body: NewVerdictsView; answer: VerdictResults };
  "/v1/messages/{message_id}/cancel": { query: "user"; body: undefined; answer: MessageView };
  "/v1/pairings/approve": { query: "user"; body: Approval; answer: PairedView };
  "/v1/pairings/{pairing_id}/deny": { query: "user"; body: undefined; answer: PairingView };
  "/v1/questions/{question_id}/answer": { query: "user"; body: AnswerBody; answer: QuestionView };
  "/v1/questions/{question_id}/withdraw": { query: "user"; body: undefined; answer: QuestionView };
  "/v1/runs/{run_id}/cancel": { query: "user"; body: Cancellation | undefined; answer: RunView };
  "/v1/runs/{run_id}/pause": { query: "user"; body: undefined; answer: RunView };
  "/v1/runs/{run_id}/rerun": { query: "user"; body: undefined; answer: RunView };
  "/v1/runs/{run_id}/resume": { query: "user"; body: undefined; answer: RunView };
  "/v1/sessions": { query: "user"; body: undefined; answer: SessionView };
}

export interface Put {
  "/v1/agents/{name}/config": { query: "user"; body: ConfigsRequest; answer: ConfigsChangedView };
  "/v1/boards/{board}/lead": { query: "user"; body: Lead; answer: BoardDetail };
  "/v1/connectors/{connector}/password": { query: "user"; body: Password; answer: ConnectorDetail };
}

export interface Patch {
  "/v1/agents/{name}": { query: "user"; body: AgentChanges; answer: AgentView };
  "/v1/agents/{name}/config": { query: "user"; body: AgentConfigEdit; answer: ConfigsChangedView };
  "/v1/boards/{board}": { query: "user"; body: BoardChanges; answer: BoardDetail };
  "/v1/config": { query: "user"; body: ConfigEdit; answer: ReloadView };
  "/v1/devices/{device_id}": { query: "user"; body: NewName; answer: DeviceView };
}

export interface Delete {
  "/v1/agents/{name}": { query: "user"; body: undefined; answer: AgentView };
  "/v1/boards/{board}": { query: "user"; body: undefined; answer: BoardView };
  "/v1/boards/{board}/agents/{agent}": { query: "user"; body: undefined; answer: BoardDetail };
  "/v1/boards/{board}/memory/{memory_id}": { query: "user"; body: undefined; answer: MemoryView };
  "/v1/connectors/{connector}/grant": { query: "user"; body: undefined; answer: ForgottenView };
  "/v1/invitations/{invitation_id}": { query: "user"; body: undefined; answer: InvitationView };
  "/v1/sessions/current": { query: "user"; body: undefined; answer: SessionView };
}

export const MARKS: Readonly<Record<string, string>> = {
  "instruction": "the quoted text contains instructions: check the file before you trust it",
  "hidden_characters": "the quoted text contains invisible characters, or may be invisible",
  "approximate_quote": "the quote of the model differs from the text of the file",
  "cut_answer": "the answer of the model was cut off; the file may contain more",
  "unsupported": "the quote does not say this: compare the item with the file",
  "outside": "the author of the text is not known, or not verified: expect anything",
  "apart": "the agent lists items of unknown authors apart",
  "chat": "a rule took it from a chat, and it names neither a person nor a day",
  "letter": "a rule took it from a letter, and it names neither a person nor a day",
  "running_text": "a rule took it from running text, and it names neither a person nor a day",
  "loose_lines": "a rule took it from loose lines, and it names neither a person nor a day",
  "task_list": "a rule took it for work because of its list: its own words ask for nothing"
};
