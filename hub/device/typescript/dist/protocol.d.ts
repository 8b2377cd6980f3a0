export type FromDevice = (DeviceHello) | (AgentAck) | (AgentManifest) | (AgentData) | (AgentComplete) | (ToolResult) | (ToolResults) | (Request) | (Heartbeat) | (Error);
export type FromHub = (Challenge) | (Welcome) | (Error) | (Goodbye) | (Hubs) | (AgentRun) | (AgentFetch) | (AgentCredit) | (AgentCancel) | (AgentReceipt) | (ToolCall) | (ToolCalls) | (Response) | (Event);
/** hub -> device: the first frame of every connection. */
export type Challenge = {
    "type": "challenge";
    "trace"?: (string) | (null);
    "nonce": string;
    "hub_id": string;
    "protocol": VersionRange;
    "ts_ms": number;
    "proof"?: (HubProof) | (null);
};
/** Protocol versions that a peer supports, both ends included. */
export type VersionRange = {
    "min": number;
    "max": number;
};
/** Ed25519 key of the hub and its signature over the challenge, for a device that sent a nonce. */
export type HubProof = {
    "public_key": string;
    "address": string;
    "signature": string;
};
/** hub -> device: the session is open. */
export type Welcome = {
    "type": "welcome";
    "trace"?: (string) | (null);
    "protocol": number;
    "hub_id": string;
    "connection_id": string;
    "user_id": string;
    "device_id": string;
    "epoch": number;
    "server_ts_ms": number;
    "heartbeat_interval_ms"?: number;
    "limits"?: Limits;
    "store"?: (StoreMark) | (null);
    "hubs"?: readonly (string)[];
};
/** Limits of the hub for this device; exceeding them ends the connection. */
export type Limits = {
    "max_message_bytes"?: number;
    "max_piece_bytes"?: number;
    "max_pending_calls"?: number;
    "credit_pieces"?: number;
};
/** State of a device's store: *counter* grows with every call that changed a row. */
export type StoreMark = {
    "id": string;
    "counter": number;
};
/** both ways: a refusal, in words. A close may follow. */
export type Error = {
    "type": "error";
    "trace"?: (string) | (null);
    "code": string;
    "message"?: string;
    "ref"?: (string) | (null);
    "pairing_code"?: (string) | (null);
    "retry_after_ms"?: (number) | (null);
    "hint"?: (string) | (null);
};
/** hub -> device: the last frame before every close that the hub makes on purpose. */
export type Goodbye = {
    "type": "goodbye";
    "trace"?: (string) | (null);
    "reason": string;
    "retry_after_ms"?: (number) | (null);
    "message"?: (string) | (null);
    "to"?: (string) | (null);
};
/** hub -> device: the addresses of all nodes, instead of those of the welcome. */
export type Hubs = {
    "type": "hubs";
    "trace"?: (string) | (null);
    "hubs": readonly (string)[];
};
/** hub -> device: read files for a run, or do a task. */
export type AgentRun = {
    "type": "agent_run";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence": number;
    "agent_id": string;
    "config": RunConfig;
    "mode"?: RunMode;
    "paged"?: boolean;
    "tree"?: boolean;
    "credit"?: number;
    "limits"?: RunLimits;
    "config_rev"?: (number) | (null);
    "reads"?: readonly (string)[];
    "parameters"?: {
        readonly [name: string]: unknown;
    };
    "context"?: {
        readonly [name: string]: unknown;
    };
    "checkpoint"?: (RunCheckpoint) | (null);
    "locks"?: {
        readonly [name: string]: number;
    };
    "only"?: (string) | (null);
    "reader"?: string;
    "receipt"?: (string) | (null);
};
/** Files that an agent reads. The device intersects *paths* with its owner's shared folders. */
export type RunConfig = {
    "paths"?: readonly (string)[];
    "file_extensions"?: readonly (string)[];
    "prompt_template"?: string;
    "data_types"?: readonly (string)[];
};
/** Mode of a run. */
export type RunMode = "manifest" | "stream" | "work";
/** Limits of one run's reading. */
export type RunLimits = {
    "files"?: number;
    "bytes"?: number;
};
/** Checkpoint ``agent`` of the run's agent; its program may continue from it. */
export type RunCheckpoint = {
    "sequence": number;
    "state": {
        readonly [name: string]: unknown;
    };
};
/** hub -> device: send these files of the manifest. */
export type AgentFetch = {
    "type": "agent_fetch";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "paths"?: readonly (string)[];
    "last"?: boolean;
};
/** hub -> device: permission to send more pieces. */
export type AgentCredit = {
    "type": "agent_credit";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "pieces": number;
};
/** hub -> device: stop working on a run. */
export type AgentCancel = {
    "type": "agent_cancel";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "reason"?: string;
};
/** hub -> device: what the hub received in one reading of a run, signed. */
export type AgentReceipt = {
    "type": "agent_receipt";
    "trace"?: (string) | (null);
    "receipt": Receipt;
};
/** Statement of a hub about what it received, signed by the key that it proves in its challenge. */
export type Receipt = {
    "id": string;
    "hub": string;
    "device_id": string;
    "run_id": string;
    "number": number;
    "at_ms": number;
    "files": number;
    "bytes": number;
    "root": string;
    "is_whole": boolean;
    "previous": string;
    "entry": number;
    "entry_hash": string;
    "signature": string;
};
/** hub -> device: one operation, by default on one row of the device's own tables. */
export type ToolCall = {
    "type": "tool_call";
    "trace"?: (string) | (null);
    "id": string;
    "action": Action;
    "table"?: (string) | (null);
    "data"?: {
        readonly [name: string]: (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
    };
    "where"?: {
        readonly [name: string]: (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
    };
    "limit"?: number;
    "run_id"?: (string) | (null);
    "agent_id"?: (string) | (null);
    "source"?: (ItemSource) | (null);
    "review"?: (RowReview) | (null);
    "declares"?: (DeviceTable) | (null);
    "deadline_ms"?: number;
};
/** Operation of a call at the device. */
export type Action = "agent.wake" | "browser.open" | "delete" | "file.get" | "file.put" | "files.list" | "files.read" | "insert" | "message.deliver" | "places.manage" | "query" | "review.apply" | "rows.agenda" | "rows.known" | "rows.list" | "table.declare" | "update" | "user.ask";
/** Position of an item: ``text[start:end] == quote``, counted in code points of the file's text. */
export type ItemSource = {
    "path": string;
    "quote": string;
    "start": number;
    "end": number;
    "sha256"?: (string) | (null);
    "warnings"?: readonly (string)[];
    "unresolved"?: readonly (Unresolved)[];
    "changed"?: readonly (Changed)[];
    "replaces"?: (string) | (null);
    "link"?: (string) | (null);
    "timezone"?: (string) | (null);
    "provenance"?: (Provenance) | (null);
    "found_by"?: (FoundBy) | (null);
    "counted"?: readonly (CountedDay)[];
    "line"?: (number) | (null);
    "marks"?: readonly (string)[];
};
/** Words of the text that could not be converted to a field's value, as "some day next spring". */
export type Unresolved = {
    "field": string;
    "words": string;
};
/** Field of a row whose source has changed. */
export type Changed = {
    "field": string;
    "before": (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
    "after": (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
};
/** Authorship of the text that an item is from. */
export type Provenance = {
    "origin": ProvenanceOrigin;
    "author"?: (string) | (null);
    "trusted": boolean;
};
/** Kind of source that an item is from. */
export type ProvenanceOrigin = "attachment" | "calendar" | "chat" | "mail" | "own" | "shared" | "web";
/** Finder of an item: a rule of the hub, or a language model. */
export type FoundBy = "model" | "rule";
/** Words of the text that a field's day counts from another day, as "by Friday", and that other day. */
export type CountedDay = {
    "field": string;
    "words": string;
    "since": string;
    "by": string;
    "evidence"?: string;
};
/** Verdict of ``review.apply``, and the state of the row that the owner saw. */
export type RowReview = {
    "verdict": ReviewVerdict;
    "seen": string;
    "titles"?: {
        readonly [name: string]: string;
    };
    "row"?: (string) | (null);
};
/** Decision about a row that the owner took elsewhere. */
export type ReviewVerdict = "approve" | "edit" | "reject" | "undo";
/** Declaration of a table. */
export type DeviceTable = {
    "name": string;
    "about"?: string;
    "title": string;
    "key": readonly (string)[];
    "fields": readonly (Column)[];
};
/** Column. *required* applies to a suggestion, *required_to_approve* to an approved row. */
export type Column = {
    "name": string;
    "kind": Kind;
    "filler"?: Filler;
    "required"?: boolean;
    "required_to_approve"?: boolean;
    "choices"?: readonly (string)[];
    "default"?: (string) | (number) | (null);
    "max_length"?: number;
    "refers_to"?: (string) | (null);
    "about"?: string;
};
/** Type of a column's value, on the wire and in the device's SQLite file. */
export type Kind = "epoch_ms" | "flag" | "names" | "number" | "text";
/** Party that fills a column. */
export type Filler = "device" | "hub" | "model" | "person";
/** hub -> device: several calls on rows, each as in a ``tool_call`` of its own, in their order. */
export type ToolCalls = {
    "type": "tool_calls";
    "trace"?: (string) | (null);
    "calls": readonly (ToolCall)[];
};
/** hub -> device: the answer to a request, a result or an error. */
export type Response = {
    "type": "response";
    "trace"?: (string) | (null);
    "id": string;
    "result"?: ({
        readonly [name: string]: unknown;
    }) | (null);
    "error"?: (ErrorBody) | (null);
};
/** Error in words: *code* is stable (``protocol.errors``), *message* is for people. */
export type ErrorBody = {
    "code": string;
    "message"?: string;
    "retryable"?: boolean;
    "retry_after_ms"?: (number) | (null);
    "hint"?: (string) | (null);
};
/** hub -> device: notification of an event. A gap in *seq* means: request the state again. */
export type Event = {
    "type": "event";
    "trace"?: (string) | (null);
    "event": string;
    "seq": number;
    "data"?: {
        readonly [name: string]: unknown;
    };
};
/** device -> hub: identity and capabilities of the device. */
export type DeviceHello = {
    "type": "device_hello";
    "trace"?: (string) | (null);
    "device_id"?: (string) | (null);
    "protocol"?: (VersionRange) | (null);
    "token"?: (string) | (null);
    "identity"?: (Identity) | (null);
    "invitation"?: (string) | (null);
    "client"?: (Client) | (null);
    "capabilities"?: readonly (Capability)[];
    "agents"?: readonly (AgentPresence)[];
    "runs"?: readonly (HeldRun)[];
    "store"?: (StoreMark) | (null);
    "roots"?: readonly (string)[];
    "missing"?: readonly (string)[];
    "grants"?: readonly (GrantOfOwner)[];
};
/** Ed25519 key of the device and its signature over the hello. */
export type Identity = {
    "public_key": string;
    "signature": string;
    "signed_at_ms": number;
    "address"?: (string) | (null);
};
/** Self-description of the device's program. Shown to people, never trusted. */
export type Client = {
    "name"?: string;
    "version"?: string;
    "platform"?: string;
    "host"?: string;
    "instance"?: string;
};
/** Capability that a peer offers, with a semantic version. */
export type Capability = {
    "name": string;
    "version"?: string;
};
/** Agent as its device sees it. */
export type AgentPresence = {
    "agent_id": string;
    "status"?: string;
};
/** Run that the device still executes from an earlier connection. */
export type HeldRun = {
    "run_id": string;
    "fence": number;
};
/** Permission that the device's owner grants this hub; the device itself enforces it. */
export type GrantOfOwner = {
    "name": string;
    "tables"?: readonly (string)[];
};
/** device -> hub: the run was accepted, or the reason why not. */
export type AgentAck = {
    "type": "agent_ack";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "accepted"?: boolean;
    "reason"?: (string) | (null);
};
/** device -> hub: digests of the files that a run may read, in one frame or several. */
export type AgentManifest = {
    "type": "agent_manifest";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "seq"?: number;
    "files"?: readonly (ManifestFile)[];
    "last"?: boolean;
    "tree"?: (ManifestTree) | (null);
};
/** File on the device: *sha256* covers all its bytes. */
export type ManifestFile = {
    "path": string;
    "size_bytes": number;
    "sha256": string;
    "modified_ms"?: (number) | (null);
};
/** Digest of the whole manifest, and its number of files. */
export type ManifestTree = {
    "digest": string;
    "files": number;
};
/** device -> hub: pieces of files. Each entry of *files* takes one credit. */
export type AgentData = {
    "type": "agent_data";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "seq"?: number;
    "files"?: readonly (FilePiece)[];
};
/** Part of a file: piece *piece* of *pieces*, in order; small files are one piece. */
export type FilePiece = {
    "path": string;
    "content"?: string;
    "sha256"?: (string) | (null);
    "piece"?: number;
    "pieces"?: number;
    "encoding"?: (string) | (null);
    "media_type"?: (string) | (null);
    "modified_ms"?: (number) | (null);
    "hidden"?: number;
    "guessed"?: (string) | (null);
    "parts"?: readonly (PartCount)[];
};
/** Number of parts of a file with one type and outcome, as in ``application/pdf encrypted``. */
export type PartCount = {
    "name": string;
    "count"?: number;
};
/** device -> hub: the last frame of a run. A cancelled run has ``error.code = "cancelled"``. */
export type AgentComplete = {
    "type": "agent_complete";
    "trace"?: (string) | (null);
    "run_id": string;
    "fence"?: (number) | (null);
    "files"?: (number) | (null);
    "skipped"?: readonly (SkippedFile)[];
    "error"?: (string) | (ErrorBody) | (null);
    "sent"?: (Sent) | (null);
};
/** File that the device did not send; an entry of the path ``*`` counts *files* without their names. */
export type SkippedFile = {
    "path": string;
    "reason": string;
    "files"?: number;
};
/** Statement of a device about what it sent; signed by its key, if it has one. */
export type Sent = {
    "files": number;
    "bytes": number;
    "root": string;
    "public_key"?: (string) | (null);
    "signature"?: (string) | (null);
};
/** device -> hub: the answer to a call. The id may also come as ``call_id``. */
export type ToolResult = {
    "type": "tool_result";
    "trace"?: (string) | (null);
    "id"?: (string) | (null);
    "call_id"?: (string) | (null);
    "result"?: unknown;
    "error"?: (string) | (ErrorBody) | (null);
    "counter"?: (number) | (null);
};
/** device -> hub: several answers, each as in a ``tool_result`` of its own; together MAX_RESULT_BYTES. */
export type ToolResults = {
    "type": "tool_results";
    "trace"?: (string) | (null);
    "results": readonly (ToolResult)[];
};
/** device -> hub: an operation that the person at the desktop requests. */
export type Request = {
    "type": "request";
    "trace"?: (string) | (null);
    "id": string;
    "method": string;
    "params"?: {
        readonly [name: string]: Value;
    };
};
/** device -> hub: sign of life, every ``heartbeat_interval_ms``. */
export type Heartbeat = {
    "type": "heartbeat";
    "trace"?: (string) | (null);
    "agents"?: readonly (AgentBeat)[];
};
/** Agent in a heartbeat, as its device sees it. It does not undo a person's decision. */
export type AgentBeat = {
    "agent_id": string;
    "status"?: string;
    "state_detail"?: (string) | (null);
    "resource_usage"?: {
        readonly [name: string]: (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
    };
    "exhaust_reason"?: (string) | (null);
    "recovery_at_ms"?: (number) | (null);
};
/** Request for approved tasks and events, also of other hubs, at most ``limit`` of the call. */
export type AgendaQuery = {
    "begin": number;
    "is_done"?: boolean;
    "text"?: string;
    "place"?: number;
    "row_id"?: string;
};
/** Answer to ``rows.agenda``. *more*: rows follow the last one. */
export type AgendaPage = {
    "rows": readonly (AgendaRow)[];
    "more"?: boolean;
};
/** Approved row. *data*: fields of ``agenda_fields``, a project by its name, and ``updatedAt``. */
export type AgendaRow = {
    "table": string;
    "row_id": string;
    "place": number;
    "data": {
        readonly [name: string]: (string) | (number) | (number) | (boolean) | (readonly (string)[]) | (null);
    };
    "seen_row": string;
};
/** ``data`` of a ``tool_call`` with action ``places.manage``. */
export type PlaceOrder = {
    "do": "list" | "remove" | "save" | "test";
    "name"?: string;
    "version"?: string;
    "kind"?: ("caldav" | "csv" | "ics" | "jsonl" | "markdown" | "todo.txt") | (null);
    "place"?: string;
    "user"?: string;
    "password"?: string;
};
/** Answer to ``places.manage``. */
export type PlacesAnswer = {
    "version"?: string;
    "places"?: readonly (KnownPlace)[];
    "candidates"?: readonly (PlaceFields)[];
    "problem"?: string;
    "about"?: string;
    "calendars"?: readonly (FoundCalendar)[];
    "rows"?: number;
    "tables"?: readonly (string)[];
    "left_out"?: readonly (string)[];
};
/** Place of a device's settings, and what is there and waits. */
export type KnownPlace = {
    "name": string;
    "kind": string;
    "place": string;
    "user"?: string;
    "tables"?: readonly (string)[];
    "rows"?: number;
    "waiting"?: number;
    "deleted"?: number;
    "written_ms"?: (number) | (null);
    "problem"?: string;
    "remedy"?: string;
    "is_lasting"?: boolean;
    "asked"?: string;
};
/** Place as a person fills it in. */
export type PlaceFields = {
    "kind": "caldav" | "csv" | "ics" | "jsonl" | "markdown" | "todo.txt";
    "place": string;
    "user"?: string;
    "password"?: string;
};
/** Calendar of a user at a server, or an address where the calendars are. */
export type FoundCalendar = {
    "url": string;
    "name"?: string;
    "tables"?: readonly (string)[];
};
/** Any value of JSON, at most 8 levels of lists and objects. */
export type Value = (string) | (number) | (number) | (boolean) | (null) | (readonly (Value)[]) | ({
    readonly [name: string]: Value;
});
/** Version of this package. */
export declare const VERSION = "0.2.0";
export declare const MAX_RESULT_BYTES = 65536;
export declare const TABLES: readonly DeviceTable[];
/** Columns that every table has. */
export declare const SHARED_COLUMNS: readonly Column[];
export declare const CLOSE_MEANINGS: Readonly<Record<number, string>>;
