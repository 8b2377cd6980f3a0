// Written by 'make documents' from the OpenAPI document of the hub.
export type AgentBody = { "name": string; "title"?: string | null; "device"?: string | null; "user"?: string | null; "file_extensions"?: readonly (string)[]; "connector"?: string | null; "filter"?: { readonly [name: string]: unknown }; "paths"?: readonly (string)[] | null; "push"?: boolean; "data_types"?: readonly (TableName)[] | null; "prompt"?: string | null; "description"?: string | null; "type"?: ("COORDINATOR" | "ASSISTANT" | "RESEARCHER" | "DEVELOPER" | "DESIGNER" | "SPECIALIST" | "AUDITOR" | "CUSTOM" | "PLANNER" | "REVIEWER" | "MANAGER" | "TOOL_CURATOR" | "DEPLOYMENT") | (null); "template"?: string | null; "external_id"?: string | null; "instance_id"?: string | null; "project_id"?: string | null; "needs"?: readonly (string)[]; "capabilities"?: readonly (CapabilitySettings)[]; "locks"?: readonly (string)[]; "schedule"?: (string) | (ScheduleTable) | (null); "slots"?: readonly (SlotTable)[]; "config"?: { readonly [name: string]: unknown }; "timezone"?: string; "priority"?: number; "max_concurrent_runs"?: number; "allow_cloud"?: boolean; "redact"?: readonly (string)[]; "batch"?: boolean; "budget_usd"?: number | null; "start"?: boolean };
export type AgentHistory = { "moves": readonly (AgentMoveView)[]; "next_cursor": string | null };
export type AgentMoveView = { "seq": number; "at": string; "axis": string; "before": string | null; "after": string; "reason": string | null; "actor": string; "snapshot": { readonly [name: string]: string } };
export type AgentOverview = { "agent": AgentView; "status": AgentStatusView; "slots": readonly (SlotView)[]; "runs": readonly (RunView)[]; "locks": readonly (LockView)[]; "capabilities": readonly (CapabilityView)[]; "config": readonly (string)[]; "checkpoints": readonly (CheckpointBrief)[]; "spend": SpendView; "series": number };
export type AgentStatusView = { "agent": string; "lifecycle": string; "availability": string; "connectivity": string; "health": string; "activity": string; "reported_connectivity": string | null; "health_reason": string | null; "state_detail": string | null; "exhaust_reason": string | null; "exhausted_at": string | null; "recovery_at": string | null; "probe_at": string | null; "runs_waiting": number; "runs_executing": number; "runs_running": number; "max_concurrent_runs": number; "last_heartbeat_at": string | null; "last_activity_at": string; "resource_usage": { readonly [name: string]: unknown }; "metadata": { readonly [name: string]: unknown }; "version": number; "axes": { readonly [name: string]: AxisView } };
export type AgentView = { "id": string; "name": string; "title": string | null; "user": string; "device": string; "device_connected": boolean; "gateway": string | null; "connectivity": string; "paths": readonly (string)[]; "file_extensions": readonly (string)[]; "data_types": readonly (string)[]; "prompt": string; "schedule": string | null; "timezone": string; "source": "api" | "file"; "priority": number; "max_concurrent_runs": number; "description": string | null; "type": string; "subtype": string | null; "template": string | null; "external_id": string | null; "instance_id": string | null; "project_id": string | null; "needs": readonly (string)[]; "locks": readonly (string)[]; "config_rev": number; "lifecycle": string; "availability": string; "health": string; "recovery_at": string | null; "schedules": readonly (ScheduleView)[]; "next_fires": readonly (FireView)[]; "last_run": (RunView) | (null) };
export type Agents = { "agents": readonly (AgentView)[]; "next_cursor": string | null };
export type AgreementView = { "cause": "asked" | "first" | "hub_older" | "store_older" | "store_replaced"; "began_at": string; "agreed_at": string | null; "sent": number; "taken": number; "refused": number; "problem": string | null };
export type AnswerBody = { "answer": string };
export type Approval = { "code": string; "pairing_id"?: string | null; "name"?: string | null; "dry_run"?: boolean };
export type AuditEntryView = { "seq": number; "at": string; "actor": string; "event": string; "subject": string | null; "outcome": "done" | "refused"; "detail": { readonly [name: string]: unknown }; "prev_hash": string; "hash": string; "alias": string | null };
export type AuditLog = { "entries": readonly (AuditEntryView)[]; "next_cursor": string | null };
export type AxisView = { "value": string; "since": string | null; "reason": string | null; "actor": string | null; "moves": readonly (string)[] };
export type Cancellation = { "reason"?: string };
export type CapabilitySettings = { "name": string; "version"?: string; "enabled"?: boolean | null; "config"?: { readonly [name: string]: unknown }; "description"?: string | null };
export type CapabilityView = { "name": string; "version": string; "enabled": boolean; "source": "api" | "device" | "file"; "config": { readonly [name: string]: unknown }; "description": string | null; "created_at": string; "updated_at": string };
export type ChartView = { "agent": string; "name": string; "type": "counter" | "gauge" | "histogram"; "agg": string; "since": string; "until": string; "step_s": number; "bucket_s": number; "error": number | null; "lines": readonly (LineView)[] };
export type CheckpointBrief = { "scope": string; "sequence": number; "is_recoverable": boolean; "updated_at": string };
export type ConfigEdit = { "text"?: string | null; "values"?: { readonly [name: string]: unknown }; "without"?: readonly (string)[] };
export type ConnectorDetail = { "unread": readonly (UnreadView)[]; "id": string; "name": string; "user": string; "provider": string; "account": string | null; "state": "blocked" | "ok" | "sign_in"; "code": string | null; "detail": string | null; "failures": number; "retry_at": string | null; "last_ok_at": string | null; "agents": readonly (string)[]; "way_in": ("browser" | "password") | (null) };
export type ConnectorView = { "id": string; "name": string; "user": string; "provider": string; "account": string | null; "state": "blocked" | "ok" | "sign_in"; "code": string | null; "detail": string | null; "failures": number; "retry_at": string | null; "last_ok_at": string | null; "agents": readonly (string)[]; "way_in": ("browser" | "password") | (null) };
export type Connectors = { "connectors": readonly (ConnectorView)[]; "next_cursor": string | null };
export type CostView = { "key": string; "agent": string | null; "calls": number; "failed": number; "requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "took_s": number };
export type CostsView = { "by": "agent" | "call" | "day" | "file" | "model" | "run" | "user"; "since": string; "until": string; "rows": readonly (CostView)[]; "total": CostView };
export type DeviceDetail = { "keys": readonly (KeyView)[]; "tokens": readonly (TokenView)[]; "agents": readonly (string)[]; "agreement": (AgreementView) | (null); "owner_grants": readonly (OwnerGrantView)[]; "id": string; "name": string; "user": string; "connected": boolean; "platform": string | null; "capabilities": readonly (string)[]; "created_at": string; "last_seen_at": string | null; "revoked_at": string | null; "grants": readonly (Grant)[] };
export type DeviceView = { "id": string; "name": string; "user": string; "connected": boolean; "platform": string | null; "capabilities": readonly (string)[]; "created_at": string; "last_seen_at": string | null; "revoked_at": string | null; "grants": readonly (Grant)[] };
export type Devices = { "devices": readonly (DeviceView)[]; "next_cursor": string | null };
export type FireView = { "at": string; "local": string; "shift": string | null };
export type ForgottenView = { "name": string; "is_revoked": boolean };
export type GivenVerdictView = { "verdict": "approve" | "edit" | "reject" | "undo"; "state": "done" | "pending" | "refused" | "sent"; "created_at": string; "reason": string | null };
export type Grant = "agents" | "connectors" | "coordination" | "files";
export type IssueCounts = { "errors": number; "warnings": number; "notices": number };
export type IssueView = { "id": string; "subject": string; "severity": "error" | "notice" | "warning"; "since": string; "explanation": string; "fix": string };
export type Issues = { "issues": readonly (IssueView)[]; "next_cursor": string | null };
export type ItemDetail = { "id": string; "agent": string; "run_id": string; "path": string; "table": string; "title": string; "warnings": readonly (string)[]; "verdict": "approved" | "edited" | "open" | "rejected"; "version": number; "row_id": string | null; "created_at": string; "answered_at": string | null; "verdict_at": string | null; "device": string | null; "data": { readonly [name: string]: unknown }; "before": { readonly [name: string]: unknown } | null; "place": (ItemPlace) | (null); "given": (GivenVerdictView) | (null) };
export type ItemPlace = { "quote": string; "start": number; "end": number; "sha256": string | null; "link": string | null };
export type ItemView = { "id": string; "agent": string; "run_id": string; "path": string; "table": string; "title": string; "warnings": readonly (string)[]; "verdict": "approved" | "edited" | "open" | "rejected"; "version": number; "row_id": string | null; "created_at": string; "answered_at": string | null; "verdict_at": string | null };
export type Items = { "items": readonly (ItemView)[]; "next_cursor": string | null };
export type KeyView = { "fingerprint": string; "created_at": string; "last_used_at": string | null; "revoked_at": string | null };
export type LineView = { "tag": string | null; "whole": number | null; "points": readonly (PointView)[] };
export type LockHolderView = { "kind": "agent" | "device" | "run"; "id": string; "agent": string | null; "device": string | null };
export type LockView = { "resource": string; "user": string; "fence": number; "holder": (LockHolderView) | (null); "since": string | null; "until": string | null; "waiting": readonly (LockWaitView)[] };
export type LockWaitView = { "holder": LockHolderView; "since": string; "until": string | null };
export type LogEntries = { "entries": readonly (LogView)[]; "next_cursor": string | null };
export type LogView = { "seq": number; "at": string; "level": "debug" | "error" | "info" | "warning"; "event": string; "channel": string; "fields": { readonly [name: string]: unknown } };
export type MeView = { "actor": string; "name": string; "role": (Role) | (null); "scopes": readonly (Scope)[]; "user": string | null };
export type Measurements = { "series": readonly (SeriesView)[]; "next_cursor": string | null };
export type MoveView = { "at": string; "before": (RunState) | (null); "after": RunState; "actor": string; "reason": string | null; "because": string | null };
export type NewName = { "name": string };
export type NewVerdictView = { "id": string; "verdict": "approve" | "edit" | "reject" | "undo"; "data"?: { readonly [name: string]: unknown }; "version"?: number | null };
export type NewVerdictsView = { "verdicts": readonly (NewVerdictView)[] };
export type OwnerGrantView = { "name": string; "tables": readonly (string)[] };
export type PairedView = { "pairing": PairingView; "device": string; "user": string; "dry_run": boolean };
export type PairingView = { "id": string; "fingerprint": string; "label": string; "platform": string; "network": string; "created_at": string; "expires_at": string; "decision": ("approved" | "denied") | (null); "decided_at": string | null; "decided_by": string | null };
export type Pairings = { "pairings": readonly (PairingView)[]; "next_cursor": string | null };
export type Password = { "password": string };
export type Pasted = { "address": string };
export type PointView = { "at": string; "value": number | null; "n": number };
export type Problem = { "type": string; "title": string; "status": number; "detail": string; "code": "internal" | "bad_frame" | "too_large" | "unknown_type" | "wrong_state" | "duplicate_id" | "credit_exceeded" | "too_many_requests" | "unknown_method" | "bad_params" | "hello_timeout" | "heartbeat_silent" | "auth_failed" | "token_in_url" | "revoked" | "pairing_required" | "pairing_denied" | "too_many_pairings" | "version_unsupported" | "rate_limited" | "overloaded" | "too_many_connections" | "untrusted_proxy" | "replaced" | "slow_consumer" | "stopping" | "restarting" | "device_offline" | "device_gone" | "device_slow" | "device_error" | "too_many_calls" | "call_timed_out" | "call_unsupported" | "result_too_large" | "cancelled" | "busy" | "nothing_shared" | "unknown_table" | "bad_record" | "unknown_agent" | "unknown_device" | "unknown_run" | "unknown_item" | "unknown_token" | "unknown_user" | "unknown_pairing" | "unknown_invitation" | "limit_reached" | "name_taken" | "managed_by_file" | "illegal_transition" | "stale_run" | "bad_settings" | "bad_schedule" | "database_busy" | "database_conflict" | "database_unavailable" | "row_unreadable" | "database_from_the_future" | "backup_refused" | "file_changed" | "file_incomplete" | "not_convertible" | "model_unavailable" | "model_refused" | "model_exhausted" | "model_answer_invalid" | "model_answer_cut_off" | "budget_reached" | "unknown_effect" | "forbidden" | "not_granted" | "wrong_host" | "foreign_origin" | "bad_content_type" | "changed_meanwhile" | "key_used" | "bad_status" | "unknown_template" | "template_in_use" | "bad_config" | "unknown_config" | "unknown_capability" | "unknown_node" | "node_unreachable" | "unknown_lock" | "lock_held" | "lock_lost" | "lock_timed_out" | "unknown_metric" | "too_many_series" | "unknown_checkpoint" | "stale_checkpoint" | "unknown_gateway" | "unknown_board" | "unknown_message" | "unknown_question" | "unknown_broadcast" | "unknown_memory" | "no_gateway" | "no_lead" | "no_session" | "not_gateway_main" | "not_your_board" | "question_settled" | "message_settled" | "soul_conflict" | "unknown_soul_version" | "soul_busy" | "gateway_refused" | "gateway_forbidden" | "gateway_invalid" | "gateway_unreachable" | "gateway_timed_out" | "unknown_connector" | "sign_in_needed" | "sign_in_failed" | "provider_forbidden" | "provider_busy" | "provider_quota" | "provider_unavailable" | "bad_connector" | "cursor_lost" | "message_unreadable" | "bad_signature" | "address_refused"; "retryable": boolean; "hint": string };
export type ProblemView = { "file": string; "line": number; "column": number; "path": string; "message": string; "hint": string; "severity": "error" | "warning" };
export type QuestionState = "answered" | "expired" | "open" | "withdrawn";
export type QuestionView = { "id": string; "user": string; "board": string | null; "board_id": string | null; "agent": string | null; "asked_by": string; "content": string; "preferred_channel": string | null; "correlation_id": string | null; "reply_tags": readonly (string)[]; "reply_source": string; "state": QuestionState; "answer": string | null; "answered_by": string | null; "memory_id": string | null; "message_id": string | null; "main_agent_id": string | null; "main_agent": string | null; "main_agent_name": string | null; "trace_id": string; "created_at": string; "expires_at": string; "settled_at": string | null };
export type QuestionsPage = { "questions": readonly (QuestionView)[]; "next_cursor": string | null };
export type ReloadView = { "generation": number; "live": readonly (string)[]; "reconnect": readonly (string)[]; "restart": readonly (string)[]; "archived": readonly (string)[]; "warnings": readonly (ProblemView)[] };
export type ReportRequest = { "samples": readonly (SampleRequest)[]; "report_id"?: string | null };
export type ReportedView = { "taken": number; "known": number };
export type Resumption = { "catch_up"?: boolean };
export type Role = "admin" | "operator" | "viewer";
export type RunDetail = { "id": string; "agent": string; "device": string; "trigger": string; "state": RunState; "outcome": (RunOutcome) | (null); "reason": string | null; "because": string | null; "waiting_for": string | null; "is_pausing": boolean; "missed": number; "missed_because": string | null; "attempt": number; "units_total": number; "units_done": number; "units_skipped": number; "units_failed": number; "units_left": number; "items_created": number; "error_count": number; "model_requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "items_updated": number; "items_known": number; "task_id": string | null; "progress": number; "message": string | null; "fire_at": string | null; "created_at": string; "started_at": string | null; "completed_at": string | null; "as_of": string; "priority": number; "max_attempts": number; "dispatches": number; "crashes": number; "rerun_of": string | null; "trace_id": string | null; "cancel_requested_at": string | null; "cancel_reason": string | null; "needs": readonly (string)[]; "locks": readonly (string)[]; "settings": { readonly [name: string]: unknown }; "parameters": { readonly [name: string]: unknown }; "context": { readonly [name: string]: unknown }; "result": { readonly [name: string]: unknown } | null; "units": readonly (UnitView)[]; "errors": readonly (RunErrorView)[]; "history": readonly (MoveView)[] };
export type RunErrorView = { "attempt": number | null; "path": string | null; "code": string; "message": string; "at": string };
export type RunOutcome = "error" | "partial" | "success";
export type RunRequest = { "needs"?: readonly (string)[]; "locks"?: readonly (string)[]; "parameters"?: { readonly [name: string]: unknown }; "context"?: { readonly [name: string]: unknown }; "task_id"?: string | null };
export type RunState = "CANCELLED" | "COMPLETED" | "FAILED" | "PAUSED" | "PREPARING" | "QUEUED" | "RUNNING";
export type RunView = { "id": string; "agent": string; "device": string; "trigger": string; "state": RunState; "outcome": (RunOutcome) | (null); "reason": string | null; "because": string | null; "waiting_for": string | null; "is_pausing": boolean; "missed": number; "missed_because": string | null; "attempt": number; "units_total": number; "units_done": number; "units_skipped": number; "units_failed": number; "units_left": number; "items_created": number; "error_count": number; "model_requests": number; "prompt_tokens": number; "completion_tokens": number; "usd": number; "items_updated": number; "items_known": number; "task_id": string | null; "progress": number; "message": string | null; "fire_at": string | null; "created_at": string; "started_at": string | null; "completed_at": string | null };
export type Runs = { "runs": readonly (RunView)[]; "next_cursor": string | null };
export type SampleRequest = { "agent_id"?: string | null; "name": string; "type"?: ("counter" | "gauge" | "histogram") | (null); "value": number; "tags"?: { readonly [name: string]: string }; "at_ms"?: number | null };
export type ScheduleTable = { "cron"?: string | null; "every_s"?: number | null; "at"?: string | null; "overlap"?: "skip" | "queue_one" | "queue_all" | "cancel_running" | "allow"; "catch_up"?: "latest" | "earliest" | "all" | "none"; "catch_up_window_s"?: number | null; "max_catch_up"?: number; "jitter_s"?: number | null; "exact"?: boolean; "start_deadline_s"?: number | null; "run_timeout_s"?: number | null; "max_attempts"?: number; "pause_after_failures"?: number; "on_first_connect"?: boolean };
export type ScheduleView = { "id": string; "kind": "at" | "cron" | "every"; "expr": string | null; "every_s": number | null; "at": string | null; "said": string; "timezone": string; "overlap": string; "enabled": boolean; "paused_reason": string | null; "paused_because": string | null; "catch_up": "all" | "earliest" | "latest" | "none"; "catch_up_window_s": number | null; "max_catch_up": number; "jitter_s": number; "offset_s": number; "start_deadline_s": number | null; "run_timeout_s": number; "max_attempts": number; "pause_after_failures": number; "consecutive_failures": number; "on_first_connect": boolean; "first_connect": ("awaited" | "done" | "due") | (null); "next_fires": readonly (FireView)[] };
export type Scope = "audit" | "devices" | "read" | "run" | "settings" | "system" | "tokens";
export type SelfTestView = { "provider": string; "is_ok": boolean; "steps": readonly (StepView)[] };
export type SeriesView = { "name": string; "type": "counter" | "gauge" | "histogram"; "tags": { readonly [name: string]: string }; "last": number | null; "last_at": string };
export type SessionView = { "id": string; "name": string; "role": Role; "scopes": readonly (Scope)[]; "user": string | null; "last4": string; "created_by": string; "created_at": string; "opened_at": string | null; "expires_at": string; "last_used_at": string | null; "revoked_at": string | null };
export type Sessions = { "sessions": readonly (SessionView)[]; "next_cursor": string | null };
export type SettingsView = { "generation": number; "tag": string; "file": string; "text": string; "settings": { readonly [name: string]: unknown }; "origins": { readonly [name: string]: string }; "waiting": readonly (string)[]; "refused": readonly (ProblemView)[]; "on_last_good": boolean; "revision": number | null };
export type SignInRequest = { "way"?: ("code" | "device" | "paste") | (null) };
export type SignInView = { "id": string; "connector": string; "way": "code" | "device" | "paste"; "url": string | null; "user_code": string | null; "outcome": ("done" | "failed") | (null); "problem": string | null; "expires_at": string };
export type SlotTable = { "cron"?: string | null; "every_s"?: number | null; "at"?: string | null; "overlap"?: "skip" | "queue_one" | "queue_all" | "cancel_running" | "allow"; "catch_up"?: "latest" | "earliest" | "all" | "none"; "catch_up_window_s"?: number | null; "max_catch_up"?: number; "jitter_s"?: number | null; "exact"?: boolean; "label": string; "duration_s": number };
export type SlotTimeView = { "starts_at": string; "ends_at": string; "local": string; "shift": string | null };
export type SlotView = { "id": string; "kind": "at" | "cron" | "every"; "expr": string | null; "every_s": number | null; "at": string | null; "said": string; "timezone": string; "overlap": string; "enabled": boolean; "paused_reason": string | null; "paused_because": string | null; "label": string; "duration_s": number; "next_times": readonly (SlotTimeView)[] };
export type SpanView = { "id": string; "parent": string | null; "kind": "call" | "model" | "run" | "state" | "unit"; "name": string; "path": string | null; "outcome": string | null; "started_at": string; "ended_at": string | null; "read_at": string | null; "planned_at": string | null; "items": number | null; "prompt_tokens": number | null; "completion_tokens": number | null; "usd": number | null; "sends": number | null; "ref": string };
export type SpendView = { "day": CostView; "month": CostView };
export type StatusView = { "name": string; "hub_id": string; "key": string; "version": string; "uptime_s": number; "state": "draining" | "running"; "devices_known": number; "devices_connected": number; "devices_here": number; "gateways_known": number; "gateways_ready": number; "agents": number; "runs": { readonly [name: string]: number }; "model": string | null; "listeners": { readonly [name: string]: string }; "database": string; "held_back": string | null; "disk_full": string | null; "pairing": readonly (string)[]; "issues": IssueCounts; "config_generation": number };
export type StepView = { "step": string; "is_ok": boolean; "told": string; "took_ms": number };
export type TableName = "tasks" | "notes" | "timelines" | "projects" | "taskComments";
export type TokenView = { "id": string; "device": string; "user": string; "last4": string | null; "created_by": string | null; "created_at": string; "expires_at": string | null; "last_used_at": string | null; "revoked_at": string | null };
export type Traces = { "spans": readonly (SpanView)[]; "next_cursor": string | null };
export type UnitState = "DONE" | "EXTRACTED" | "FAILED" | "PENDING" | "SKIPPED";
export type UnitView = { "path": string; "state": UnitState; "size_bytes": number | null; "attempts": number; "items": number; "items_planned": number; "began_at": string | null; "read_at": string | null; "planned_at": string | null; "settled_at": string | null; "error": string | null; "notes": { readonly [name: string]: (number) | ({ readonly [name: string]: number }) } };
export type UnreadView = { "agent": string; "message": string; "state": string; "attempts": number; "reason": string | null; "at": string };
export type VerdictError = { "code": string; "message": string };
export type VerdictResult = { "id": string; "state": ("done" | "open" | "pending" | "refused" | "sent") | (null); "reason": string | null; "error": (VerdictError) | (null) };
export type VerdictResults = { "results": readonly (VerdictResult)[] };

export interface Get {
  "/v1/agents": { query: "activity" | "as" | "availability" | "capability" | "connectivity" | "cursor" | "health" | "lifecycle" | "limit" | "project_id" | "state_detail" | "status" | "type" | "user"; body: undefined; answer: Agents };
  "/v1/agents/{name}/history": { query: "axis" | "cursor" | "limit" | "user"; body: undefined; answer: AgentHistory };
  "/v1/agents/{name}/metrics": { query: "cursor" | "limit" | "user"; body: undefined; answer: Measurements };
  "/v1/agents/{name}/metrics/{metric}": { query: "agg" | "by" | "since" | "step_s" | "tag" | "until" | "user"; body: undefined; answer: ChartView };
  "/v1/agents/{name}/overview": { query: "user"; body: undefined; answer: AgentOverview };
  "/v1/audit": { query: "actor" | "cursor" | "event" | "limit" | "order" | "since" | "subject" | "until"; body: undefined; answer: AuditLog };
  "/v1/changes": { query: "user"; body: undefined; answer: string };
  "/v1/config": { query: "user"; body: undefined; answer: SettingsView };
  "/v1/connectors": { query: "cursor" | "limit" | "user"; body: undefined; answer: Connectors };
  "/v1/connectors/{connector}": { query: "user"; body: undefined; answer: ConnectorDetail };
  "/v1/connectors/{connector}/sign-in/{sign_in}": { query: "user"; body: undefined; answer: SignInView };
  "/v1/costs": { query: "by" | "since" | "until" | "user"; body: undefined; answer: CostsView };
  "/v1/devices": { query: "cursor" | "limit" | "user"; body: undefined; answer: Devices };
  "/v1/devices/{device_id}": { query: "user"; body: undefined; answer: DeviceDetail };
  "/v1/issues": { query: "anew" | "cursor" | "limit" | "online" | "user"; body: undefined; answer: Issues };
  "/v1/items": { query: "agent" | "cursor" | "limit" | "run" | "user" | "verdict"; body: undefined; answer: Items };
  "/v1/items/{item_id}": { query: "user"; body: undefined; answer: ItemDetail };
  "/v1/logs": { query: "cursor" | "device" | "follow" | "level" | "limit" | "run" | "since" | "until"; body: undefined; answer: LogEntries };
  "/v1/me": { query: "user"; body: undefined; answer: MeView };
  "/v1/pairings": { query: "cursor" | "limit" | "user"; body: undefined; answer: Pairings };
  "/v1/questions": { query: "board" | "correlation_id" | "cursor" | "limit" | "state" | "user"; body: undefined; answer: QuestionsPage };
  "/v1/runs": { query: "agent" | "cursor" | "device" | "limit" | "outcome" | "since" | "state" | "task_id" | "until" | "user"; body: undefined; answer: Runs };
  "/v1/runs/{run_id}": { query: "user"; body: undefined; answer: RunDetail };
  "/v1/runs/{run_id}/trace": { query: "cursor" | "limit" | "user"; body: undefined; answer: Traces };
  "/v1/sessions": { query: "cursor" | "limit" | "user"; body: undefined; answer: Sessions };
  "/v1/status": { query: "user"; body: undefined; answer: StatusView };
}

export interface Post {
  "/v1/agents": { query: "user"; body: AgentBody; answer: AgentView };
  "/v1/agents/{name}/metrics": { query: "user"; body: ReportRequest; answer: ReportedView };
  "/v1/agents/{name}/pause": { query: "user"; body: undefined; answer: AgentView };
  "/v1/agents/{name}/resume": { query: "user"; body: Resumption | undefined; answer: AgentView };
  "/v1/agents/{name}/runs": { query: "user"; body: RunRequest | undefined; answer: RunView };
  "/v1/connectors/{connector}/retry": { query: "user"; body: undefined; answer: ConnectorDetail };
  "/v1/connectors/{connector}/sign-in": { query: "user"; body: SignInRequest; answer: SignInView };
  "/v1/connectors/{connector}/sign-in/answer": { query: "user"; body: Pasted; answer: SignInView };
  "/v1/connectors/{connector}/test": { query: "user"; body: undefined; answer: SelfTestView };
  "/v1/devices/{device_id}/kick": { query: "user"; body: undefined; answer: DeviceView };
  "/v1/devices/{device_id}/revoke": { query: "user"; body: undefined; answer: DeviceView };
  "/v1/items/verdicts": { query: "user"; body: NewVerdictsView; answer: VerdictResults };
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
  "/v1/connectors/{connector}/password": { query: "user"; body: Password; answer: ConnectorDetail };
}

export interface Patch {
  "/v1/config": { query: "user"; body: ConfigEdit; answer: ReloadView };
  "/v1/devices/{device_id}": { query: "user"; body: NewName; answer: DeviceView };
}

export interface Delete {
  "/v1/connectors/{connector}/grant": { query: "user"; body: undefined; answer: ForgottenView };
}
