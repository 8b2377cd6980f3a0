"""Error codes: HTTP status, hint, and the party at fault; close codes of a connection.

One tree of exceptions::

    HubError
        ProtocolError
            LocalProtocolError      a call that the session's state does not allow: a bug of this side.
            RemoteProtocolError     the peer violated the protocol: close, do not crash.
        IllegalTransition           a state machine has no such move.
        DeliveryError               a frame could not be delivered to a device, or was not answered.
            DeviceOffline           the device is not connected.
            LinkLost                the connection ended; ``dispatched`` says whether the frame was sent.
            DeviceSlow              the outgoing queue is full.
            TooManyCalls            the device has the maximum number of open calls.
            CallTimedOut            no answer in time; the effect is unknown.
            CallUnsupported         the device does not list the capability.

Codes are never renamed. A class carries data; ``str()`` returns the sentence.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from protocol.ids import BootId


class Fault(StrEnum):
    """Party that has to change something to resolve the error."""

    LOCAL = "local"  # this hub: a bug
    REMOTE = "remote"  # the peer that sent it
    OPERATOR = "operator"  # operator of the hub
    PROVIDER = "provider"  # a model endpoint or a mail provider


class ErrorCode(StrEnum):
    """Stable spelling of an error, on the wire and over REST."""

    INTERNAL = "internal"
    BAD_FRAME = "bad_frame"
    TOO_LARGE = "too_large"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_STATE = "wrong_state"
    DUPLICATE_ID = "duplicate_id"
    CREDIT_EXCEEDED = "credit_exceeded"
    TOO_MANY_REQUESTS = "too_many_requests"
    UNKNOWN_METHOD = "unknown_method"
    BAD_PARAMS = "bad_params"
    HELLO_TIMEOUT = "hello_timeout"
    HEARTBEAT_SILENT = "heartbeat_silent"
    AUTH_FAILED = "auth_failed"
    TOKEN_IN_URL = "token_in_url"
    REVOKED = "revoked"
    PAIRING_REQUIRED = "pairing_required"
    PAIRING_DENIED = "pairing_denied"
    TOO_MANY_PAIRINGS = "too_many_pairings"
    VERSION_UNSUPPORTED = "version_unsupported"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    UNTRUSTED_PROXY = "untrusted_proxy"
    REPLACED = "replaced"
    SLOW_CONSUMER = "slow_consumer"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    DEVICE_OFFLINE = "device_offline"
    DEVICE_GONE = "device_gone"
    DEVICE_SLOW = "device_slow"
    DEVICE_ERROR = "device_error"
    TOO_MANY_CALLS = "too_many_calls"
    CALL_TIMED_OUT = "call_timed_out"
    CALL_UNSUPPORTED = "call_unsupported"
    RESULT_TOO_LARGE = "result_too_large"
    CANCELLED = "cancelled"
    BUSY = "busy"
    NOTHING_SHARED = "nothing_shared"
    UNKNOWN_TABLE = "unknown_table"
    BAD_RECORD = "bad_record"
    UNKNOWN_AGENT = "unknown_agent"
    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_RUN = "unknown_run"
    UNKNOWN_ITEM = "unknown_item"
    UNKNOWN_FILE = "unknown_file"
    UNKNOWN_TOKEN = "unknown_token"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_PAIRING = "unknown_pairing"
    UNKNOWN_INVITATION = "unknown_invitation"
    UNKNOWN_NAME = "unknown_name"
    LIMIT_REACHED = "limit_reached"
    NAME_TAKEN = "name_taken"
    MANAGED_BY_FILE = "managed_by_file"
    ILLEGAL_TRANSITION = "illegal_transition"
    STALE_RUN = "stale_run"
    BAD_SETTINGS = "bad_settings"
    BAD_SCHEDULE = "bad_schedule"
    DATABASE_BUSY = "database_busy"
    DATABASE_CONFLICT = "database_conflict"
    DATABASE_UNAVAILABLE = "database_unavailable"
    ROW_UNREADABLE = "row_unreadable"
    DATABASE_FROM_THE_FUTURE = "database_from_the_future"
    BACKUP_REFUSED = "backup_refused"
    FILE_CHANGED = "file_changed"
    FILE_INCOMPLETE = "file_incomplete"
    NOT_CONVERTIBLE = "not_convertible"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_REFUSED = "model_refused"
    MODEL_EXHAUSTED = "model_exhausted"
    MODEL_ANSWER_INVALID = "model_answer_invalid"
    MODEL_ANSWER_CUT_OFF = "model_answer_cut_off"
    MODEL_DECLINED = "model_declined"
    MODEL_CONTEXT_EXCEEDED = "model_context_exceeded"
    BUDGET_REACHED = "budget_reached"
    UNKNOWN_EFFECT = "unknown_effect"
    FORBIDDEN = "forbidden"
    NOT_GRANTED = "not_granted"
    ADDRESS_REFUSED = "address_refused"
    WRONG_HOST = "wrong_host"
    FOREIGN_ORIGIN = "foreign_origin"
    BAD_CONTENT_TYPE = "bad_content_type"
    CHANGED_MEANWHILE = "changed_meanwhile"
    VERDICT_UNDER_WAY = "verdict_under_way"
    NEEDS_CONFIRMATION = "needs_confirmation"
    KEY_USED = "key_used"
    BAD_STATUS = "bad_status"
    UNKNOWN_TEMPLATE = "unknown_template"
    TEMPLATE_IN_USE = "template_in_use"
    BAD_CONFIG = "bad_config"
    UNKNOWN_CONFIG = "unknown_config"
    UNKNOWN_CAPABILITY = "unknown_capability"
    UNKNOWN_NODE = "unknown_node"
    NODE_UNREACHABLE = "node_unreachable"
    UNKNOWN_LOCK = "unknown_lock"
    LOCK_HELD = "lock_held"
    LOCK_LOST = "lock_lost"
    LOCK_TIMED_OUT = "lock_timed_out"
    UNKNOWN_METRIC = "unknown_metric"
    TOO_MANY_SERIES = "too_many_series"
    UNKNOWN_CHECKPOINT = "unknown_checkpoint"
    STALE_CHECKPOINT = "stale_checkpoint"
    UNKNOWN_GATEWAY = "unknown_gateway"
    UNKNOWN_BOARD = "unknown_board"
    UNKNOWN_MESSAGE = "unknown_message"
    UNKNOWN_QUESTION = "unknown_question"
    UNKNOWN_BROADCAST = "unknown_broadcast"
    UNKNOWN_MEMORY = "unknown_memory"
    NO_GATEWAY = "no_gateway"
    NO_LEAD = "no_lead"
    NO_SESSION = "no_session"
    NOT_GATEWAY_MAIN = "not_gateway_main"
    NOT_YOUR_BOARD = "not_your_board"
    QUESTION_SETTLED = "question_settled"
    MESSAGE_SETTLED = "message_settled"
    SOUL_CONFLICT = "soul_conflict"
    SOUL_BUSY = "soul_busy"
    UNKNOWN_SOUL_VERSION = "unknown_soul_version"
    GATEWAY_REFUSED = "gateway_refused"
    GATEWAY_FORBIDDEN = "gateway_forbidden"
    GATEWAY_INVALID = "gateway_invalid"
    GATEWAY_UNREACHABLE = "gateway_unreachable"
    GATEWAY_TIMED_OUT = "gateway_timed_out"
    UNKNOWN_CONNECTOR = "unknown_connector"
    UNKNOWN_TARGET = "unknown_target"
    SIGN_IN_NEEDED = "sign_in_needed"
    SIGN_IN_FAILED = "sign_in_failed"
    PROVIDER_FORBIDDEN = "provider_forbidden"
    PROVIDER_BUSY = "provider_busy"
    PROVIDER_QUOTA = "provider_quota"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    BAD_CONNECTOR = "bad_connector"
    CURSOR_LOST = "cursor_lost"
    MESSAGE_UNREADABLE = "message_unreadable"
    BAD_SIGNATURE = "bad_signature"


class CodeInfo(msgspec.Struct, frozen=True):
    """Properties of a code. *http_status*: status of the REST response."""

    fault: Fault
    retryable: bool
    http_status: int
    hint: str


def connect_command(name: str = "NAME", *, anew: bool = False) -> str:
    """Return the command that connects a device; *anew*: with a new key, because its own was revoked."""
    return f"hub connect URL --root DIR --name {name}{' --new-key' if anew else ''}"


_R, _L, _O, _P = Fault.REMOTE, Fault.LOCAL, Fault.OPERATOR, Fault.PROVIDER
_E = ErrorCode

CATALOGUE: dict[ErrorCode, CodeInfo] = {
    _E.INTERNAL: CodeInfo(_L, True, 500, "this is a fault in the hub; its log has the traceback"),
    _E.BAD_FRAME: CodeInfo(_R, False, 400, "compare the frame with PROTOCOL.md"),
    _E.TOO_LARGE: CodeInfo(
        _R, False, 413, "send less: the message names the limit; welcome tells those of frames"
    ),
    _E.UNKNOWN_TYPE: CodeInfo(_R, False, 400, "the peer is newer, or the type is misspelt; it was ignored"),
    _E.WRONG_STATE: CodeInfo(
        _R, False, 409, "this frame may not come now; see the state table in PROTOCOL.md"
    ),
    _E.DUPLICATE_ID: CodeInfo(_R, False, 409, "give each open request an id of its own"),
    _E.CREDIT_EXCEEDED: CodeInfo(_R, False, 409, "send pieces only as agent_credit allows"),
    _E.TOO_MANY_REQUESTS: CodeInfo(_R, True, 429, "wait for answers before asking more"),
    _E.UNKNOWN_METHOD: CodeInfo(_R, False, 404, "this hub does not serve the method"),
    _E.BAD_PARAMS: CodeInfo(_R, False, 422, "correct the parameters that the message names"),
    _E.HELLO_TIMEOUT: CodeInfo(_R, True, 408, "send device_hello within 10 s of connecting"),
    _E.HEARTBEAT_SILENT: CodeInfo(_R, True, 408, "come back; this device has sent nothing for too long"),
    _E.AUTH_FAILED: CodeInfo(
        _R, False, 401, "make a new token with 'hub token create --device NAME', or pair the device anew"
    ),
    _E.TOKEN_IN_URL: CodeInfo(_R, False, 400, "send the token in device_hello or the Authorization header"),
    _E.REVOKED: CodeInfo(
        _O,
        False,
        403,
        f"with a key: '{connect_command(anew=True)}' pairs it anew; with a token: make another one"
        " with 'hub token create --device NAME'",
    ),
    _E.PAIRING_REQUIRED: CodeInfo(
        _O,
        False,
        401,
        "with a key: type the code at the hub, 'hub pair approve CODE'; without one: show a token made"
        " with 'hub token create --device NAME'",
    ),
    _E.PAIRING_DENIED: CodeInfo(_O, False, 403, "ask who runs the hub; the same key may ask again later"),
    _E.TOO_MANY_PAIRINGS: CodeInfo(
        _O, True, 429, "'hub pair' lists the devices that wait: approve or deny them"
    ),
    _E.VERSION_UNSUPPORTED: CodeInfo(_R, False, 426, "update the older of the two: hub or device"),
    _E.RATE_LIMITED: CodeInfo(_R, True, 429, "wait before the next try"),
    _E.OVERLOADED: CodeInfo(_O, True, 503, "come back later; the hub is at one of its limits"),
    _E.TOO_MANY_CONNECTIONS: CodeInfo(
        _O, True, 503, "close some, or raise the limit of connections that the message tells of in [limits]"
    ),
    _E.UNTRUSTED_PROXY: CodeInfo(
        _O, False, 400, "list the proxy in trusted_proxies of [listen]; let it write one header only"
    ),
    _E.REPLACED: CodeInfo(_R, False, 409, "is the same key on two machines? let each have one of its own"),
    _E.SLOW_CONSUMER: CodeInfo(_R, True, 408, "read faster; what was sent stood unread for too long"),
    _E.STOPPING: CodeInfo(_O, True, 503, "the hub stops; come back later"),
    _E.RESTARTING: CodeInfo(_O, True, 503, "the hub restarts, and is back soon"),
    _E.DEVICE_OFFLINE: CodeInfo(
        _R, True, 409, "on the device, start it as before: 'hub up', 'hub device run' or 'hub connect'"
    ),
    _E.DEVICE_GONE: CodeInfo(_R, True, 409, "the connection ended; the work goes on when the device is back"),
    _E.DEVICE_SLOW: CodeInfo(_R, True, 503, "the device does not read what it is sent"),
    _E.DEVICE_ERROR: CodeInfo(_R, False, 502, "the device refused; its message says why"),
    _E.TOO_MANY_CALLS: CodeInfo(_L, True, 503, "wait until open calls of this device are settled"),
    _E.CALL_TIMED_OUT: CodeInfo(_R, True, 504, "no answer in time; it is asked again with the same id"),
    _E.CALL_UNSUPPORTED: CodeInfo(_R, False, 409, "the device does not list this capability"),
    _E.RESULT_TOO_LARGE: CodeInfo(_R, False, 413, "ask for fewer rows"),
    _E.CANCELLED: CodeInfo(_O, False, 409, "it was cancelled on purpose"),
    _E.BUSY: CodeInfo(_R, True, 409, "the device works on something else; try again later"),
    _E.NOTHING_SHARED: CodeInfo(_R, False, 409, "share a folder that the agent's paths lie in: '--root DIR'"),
    _E.UNKNOWN_TABLE: CodeInfo(
        _R, False, 404, "PROTOCOL.md has the built-in tables; others are in [[tables]] of hub.toml"
    ),
    _E.BAD_RECORD: CodeInfo(_R, False, 422, "correct the fields that the message names"),
    _E.UNKNOWN_AGENT: CodeInfo(_O, False, 404, "'hub agents' lists the agents there are"),
    _E.UNKNOWN_DEVICE: CodeInfo(_O, False, 404, "'hub devices' lists the devices there are"),
    _E.UNKNOWN_RUN: CodeInfo(
        _O, False, 404, "'hub runs' lists the runs there are; one without news may be part of a later one"
    ),
    _E.UNKNOWN_ITEM: CodeInfo(_O, False, 404, "'hub items' lists the items there are"),
    _E.UNKNOWN_FILE: CodeInfo(
        _R,
        False,
        404,
        "list a shared folder for its files; hidden and ignored ones, and links, are not offered",
    ),
    _E.UNKNOWN_TOKEN: CodeInfo(_O, False, 404, "'hub token ls' lists the tokens there are"),
    _E.UNKNOWN_USER: CodeInfo(_O, False, 404, "'hub users' lists the users there are"),
    _E.UNKNOWN_PAIRING: CodeInfo(
        _O, False, 404, "give the code that the device shows now, or the id that 'hub pair' lists"
    ),
    _E.UNKNOWN_INVITATION: CodeInfo(_O, False, 404, "'hub pair invitations' lists the invitations there are"),
    _E.UNKNOWN_NAME: CodeInfo(_O, False, 404, "the message names those there are, or the command that does"),
    _E.LIMIT_REACHED: CodeInfo(
        _O, False, 409, "remove what is not needed; a limit that is in [limits] of hub.toml can be raised"
    ),
    _E.NAME_TAKEN: CodeInfo(_O, False, 409, "choose another name"),
    _E.MANAGED_BY_FILE: CodeInfo(
        _O, False, 409, "edit hub.toml; a running hub takes up a good edit by itself"
    ),
    _E.ILLEGAL_TRANSITION: CodeInfo(
        _L, False, 409, "the state does not allow this; look again and decide anew"
    ),
    _E.STALE_RUN: CodeInfo(_L, False, 409, "the run was changed in the meantime; read it again, then decide"),
    _E.BAD_SETTINGS: CodeInfo(_O, False, 422, "'hub check' names file, line and column"),
    _E.BAD_SCHEDULE: CodeInfo(_O, False, 422, "five fields: minute hour day month weekday"),
    _E.DATABASE_BUSY: CodeInfo(_O, True, 503, "'hub status' says whether a hub runs there; try again later"),
    _E.DATABASE_CONFLICT: CodeInfo(_L, False, 409, "the row is there already, or one it refers to is not"),
    _E.DATABASE_UNAVAILABLE: CodeInfo(_O, True, 503, "'hub doctor' says what keeps it from working"),
    _E.ROW_UNREADABLE: CodeInfo(
        _O, False, 409, "'hub migrate verify' names the row; correct it with SQL, or restore a backup"
    ),
    _E.DATABASE_FROM_THE_FUTURE: CodeInfo(
        _O, False, 503, "start that hub, or restore a backup made before: hub restore FILE"
    ),
    _E.BACKUP_REFUSED: CodeInfo(_O, False, 409, "nothing was changed; take another file or another backup"),
    _E.FILE_CHANGED: CodeInfo(
        _R, True, 409, "the file changed while it was read; the next run reads it again"
    ),
    _E.FILE_INCOMPLETE: CodeInfo(_R, True, 409, "not all pieces of the file came"),
    _E.NOT_CONVERTIBLE: CodeInfo(
        _R, False, 415, "no converter for this kind of file; the extra [files] adds more"
    ),
    _E.MODEL_UNAVAILABLE: CodeInfo(_P, True, 503, "is the model endpoint of [model] reachable?"),
    _E.MODEL_REFUSED: CodeInfo(
        _P, False, 502, "the model endpoint refused; look at name and api_key in [model]"
    ),
    _E.MODEL_EXHAUSTED: CodeInfo(_P, True, 429, "the model's rate limit or quota is reached for now"),
    _E.MODEL_ANSWER_INVALID: CodeInfo(
        _P, True, 502, "the next run asks again; if it stays so, name another model, or leave the text out"
    ),
    _E.MODEL_ANSWER_CUT_OFF: CodeInfo(
        _P, True, 502, "switch the model's thinking off, lower chunk_tokens in [model], or name another model"
    ),
    _E.MODEL_DECLINED: CodeInfo(
        _P, False, 422, "the model or a filter refuses this text; name another model, or leave the text out"
    ),
    _E.MODEL_CONTEXT_EXCEEDED: CodeInfo(
        _P, False, 413, "give the model a larger context at its endpoint, or lower chunk_tokens in [model]"
    ),
    _E.BUDGET_REACHED: CodeInfo(
        _O, True, 429, "raise it in [budget] or at the agent in hub.toml, or wait until it begins anew"
    ),
    _E.UNKNOWN_EFFECT: CodeInfo(_R, True, 504, "the device may have done it; the same call id settles it"),
    _E.FORBIDDEN: CodeInfo(_R, False, 403, "this needs another token, or the hub's own user"),
    _E.NOT_GRANTED: CodeInfo(_R, False, 403, "its owner grants it, or for a device who runs the hub"),
    _E.WRONG_HOST: CodeInfo(_R, False, 421, "ask by a name in hosts of [listen], or by address"),
    _E.FOREIGN_ORIGIN: CodeInfo(_R, False, 403, "a web page of another origin may not ask this hub"),
    _E.BAD_CONTENT_TYPE: CodeInfo(_R, False, 415, "send the body as application/json"),
    _E.CHANGED_MEANWHILE: CodeInfo(_R, False, 412, "read it again, then decide anew"),
    _E.VERDICT_UNDER_WAY: CodeInfo(_O, True, 409, "its device answers to the verdict before; try again then"),
    _E.NEEDS_CONFIRMATION: CodeInfo(
        _R, False, 409, "show its words to its owner, then send confirmed and the version of the item"
    ),
    _E.KEY_USED: CodeInfo(_R, False, 409, "give each request a key of its own: Idempotency-Key, report_id"),
    _E.BAD_STATUS: CodeInfo(
        _O, False, 409, "the message names the axis and the moves that it allows now; write one of those"
    ),
    _E.UNKNOWN_TEMPLATE: CodeInfo(_O, False, 404, "'hub templates' lists all templates"),
    _E.TEMPLATE_IN_USE: CodeInfo(_O, False, 409, "give the agents that the message names another template"),
    _E.BAD_CONFIG: CodeInfo(_O, False, 422, "correct the keys that the message names; nothing was changed"),
    _E.UNKNOWN_CONFIG: CodeInfo(_O, False, 404, "'hub agents config NAME' lists the keys there are"),
    _E.UNKNOWN_CAPABILITY: CodeInfo(
        _O, False, 404, "'hub agents capabilities NAME' lists the capabilities there are"
    ),
    _E.UNKNOWN_NODE: CodeInfo(_O, False, 404, "'hub nodes' lists the nodes there are"),
    _E.NODE_UNREACHABLE: CodeInfo(
        _O, True, 503, "does the node live, and the bus of [cluster]? 'hub nodes' and 'hub doctor' tell"
    ),
    _E.UNKNOWN_LOCK: CodeInfo(_O, False, 404, "'hub locks --all' lists the locks there are"),
    _E.LOCK_HELD: CodeInfo(_R, True, 409, "try again later; a device may also wait for it with wait_ms"),
    _E.LOCK_LOST: CodeInfo(
        _R, False, 409, "stop what it protects; acquire the lock again and work under the new fence"
    ),
    _E.LOCK_TIMED_OUT: CodeInfo(_R, True, 409, "its turn did not come in time; try again later"),
    _E.UNKNOWN_METRIC: CodeInfo(_O, False, 404, "'hub agents metrics NAME' lists the metrics there are"),
    _E.TOO_MANY_SERIES: CodeInfo(
        _R,
        False,
        409,
        "use fewer tags and values",
    ),
    _E.UNKNOWN_CHECKPOINT: CodeInfo(
        _O, False, 404, "'hub agents checkpoints NAME' lists the checkpoints there are"
    ),
    _E.STALE_CHECKPOINT: CodeInfo(_R, False, 409, "a newer one is kept; read it and go on from there"),
    _E.UNKNOWN_GATEWAY: CodeInfo(_O, False, 404, "'hub gateways' lists the gateways there are"),
    _E.UNKNOWN_BOARD: CodeInfo(_O, False, 404, "'hub boards' lists the boards there are"),
    _E.UNKNOWN_MESSAGE: CodeInfo(_O, False, 404, "'hub messages' lists the messages there are"),
    _E.UNKNOWN_QUESTION: CodeInfo(_O, False, 404, "'hub ask' lists the questions there are"),
    _E.UNKNOWN_BROADCAST: CodeInfo(
        _O, False, 404, "'hub messages broadcasts' lists the broadcasts there are"
    ),
    _E.UNKNOWN_MEMORY: CodeInfo(_O, False, 404, "'hub boards memory NAME' lists what a board remembers"),
    _E.NO_GATEWAY: CodeInfo(
        _O, False, 422, "give the board a gateway of [[gateways]] in hub.toml, or ask where it is not needed"
    ),
    _E.NO_LEAD: CodeInfo(
        _O, False, 422, "make one of the board's agents its lead: 'hub boards lead NAME AGENT'"
    ),
    _E.NO_SESSION: CodeInfo(_O, False, 422, "the agent lives on no gateway and on no device; give it a home"),
    _E.NOT_GATEWAY_MAIN: CodeInfo(
        _R, False, 403, "only the main agent of a gateway, or a person, may do this"
    ),
    _E.NOT_YOUR_BOARD: CodeInfo(_R, False, 403, "an agent works with the agents of its own board"),
    _E.QUESTION_SETTLED: CodeInfo(_R, False, 409, "it was answered or taken back; the first answer counts"),
    _E.MESSAGE_SETTLED: CodeInfo(_R, False, 409, "what became of the message is known; send another one"),
    _E.SOUL_CONFLICT: CodeInfo(
        _R, False, 409, "read it again, put your change into what is there now, and write that with its hash"
    ),
    _E.UNKNOWN_SOUL_VERSION: CodeInfo(
        _O, False, 404, "'hub boards soul-history BOARD AGENT' lists the versions that are kept"
    ),
    _E.SOUL_BUSY: CodeInfo(_R, True, 409, "another write of it is under way; try again in a moment"),
    _E.GATEWAY_REFUSED: CodeInfo(_P, False, 502, "the gateway refused; the message says why"),
    _E.GATEWAY_FORBIDDEN: CodeInfo(
        _P, False, 502, "give the hub's device the missing scope at the gateway, or a token that has it"
    ),
    _E.GATEWAY_INVALID: CodeInfo(
        _P, False, 502, "the gateway's answer cannot be read; is it much newer or older?"
    ),
    _E.GATEWAY_UNREACHABLE: CodeInfo(
        _P, True, 503, "'hub gateways' shows its state; what was committed is sent when it is back"
    ),
    _E.GATEWAY_TIMED_OUT: CodeInfo(
        _P, True, 504, "whether it was done is not known; the same request settles it"
    ),
    _E.UNKNOWN_TARGET: CodeInfo(
        _O, False, 404, "'hub notify ls' lists the targets, 'hub notify deliveries TARGET' their deliveries"
    ),
    _E.UNKNOWN_CONNECTOR: CodeInfo(_O, False, 404, "'hub connectors ls' lists the connectors there are"),
    _E.SIGN_IN_NEEDED: CodeInfo(_O, False, 409, "sign in again: hub connectors login NAME"),
    _E.SIGN_IN_FAILED: CodeInfo(
        _O, False, 422, "the message says why; begin again: hub connectors login NAME"
    ),
    _E.PROVIDER_FORBIDDEN: CodeInfo(
        _O,
        False,
        502,
        "signed in, but not allowed; the message says what to ask the provider's administrator for",
    ),
    _E.PROVIDER_BUSY: CodeInfo(
        _P, True, 503, "the provider wants a pause; the hub goes on by itself after it"
    ),
    _E.PROVIDER_QUOTA: CodeInfo(_O, False, 502, "what was paid for at the provider is used up"),
    _E.PROVIDER_UNAVAILABLE: CodeInfo(
        _P, True, 503, "the provider did not answer properly; tried again later"
    ),
    _E.BAD_CONNECTOR: CodeInfo(
        _O, False, 422, "correct what [[connectors]] or the agent's filter says in hub.toml"
    ),
    _E.CURSOR_LOST: CodeInfo(
        _P, True, 502, "the mailbox is looked through again from an earlier day; nothing is done twice"
    ),
    _E.MESSAGE_UNREADABLE: CodeInfo(
        _P, False, 502, "this message is left out after three tries; the others are read"
    ),
    _E.BAD_SIGNATURE: CodeInfo(
        _R,
        False,
        401,
        "sign the body as the hook's connector says, with its secret and a clock that is right",
    ),
    _E.ADDRESS_REFUSED: CodeInfo(
        _O, False, 502, "if the address is meant, list it in [outbound] allow of hub.toml"
    ),
}


LASTING = frozenset(code for code, info in CATALOGUE.items() if not info.retryable)  # at the first failure


VERDICT_REFUSALS: Mapping[str, str] = {  # why a device did not apply a verdict from the hub, and what to do
    _E.NOT_GRANTED: "its owner does not grant it; on the device: hub grants +review.remote",
    _E.CALL_UNSUPPORTED: "its device takes no verdicts from a hub; decide there: hub review, or its program",
    _E.CHANGED_MEANWHILE: "its owner decided otherwise, or the item has changed since",
    _E.DATABASE_CONFLICT: "the row is not at its device any more",
    _E.DEVICE_ERROR: "its device answered otherwise than asked; look there: hub review, or its program",
    _E.REVOKED: f"its device was revoked; let it in again: {connect_command(anew=True)}",
}


class CloseCode(IntEnum):
    """WebSocket close code, which tells a device whether to reconnect.

    4000-4499: reconnect, with backoff. 4500-4999: do not reconnect by yourself.
    """

    NORMAL = 1000
    STOPPING = 1001
    TOO_LARGE = 1009
    FAULT = 1011
    RESTARTING = 1012
    OVERLOADED = 1013
    HELLO_TIMEOUT = 4000
    HEARTBEAT_SILENT = 4001
    SLOW_CONSUMER = 4008
    TOO_MANY_ATTEMPTS = 4029
    BAD_FRAME = 4400
    AUTH_FAILED = 4501
    REVOKED = 4503
    VERSION_UNSUPPORTED = 4505
    REPLACED = 4509
    PAIRING_REQUIRED = 4510

    @property
    def may_return(self) -> bool:
        """True if the device should reconnect by itself."""
        return self < 4500


CLOSE_MEANINGS: dict[CloseCode, str] = {
    CloseCode.NORMAL: "the device is done",
    CloseCode.STOPPING: "hub stops",
    CloseCode.TOO_LARGE: "message too large",
    CloseCode.FAULT: "fault in the hub",
    CloseCode.RESTARTING: "the hub restarts, or wants the device to connect anew",
    CloseCode.OVERLOADED: "overloaded, try later",
    CloseCode.HELLO_TIMEOUT: "no hello in time",
    CloseCode.HEARTBEAT_SILENT: "heartbeat silent",
    CloseCode.SLOW_CONSUMER: "slow consumer: the outgoing queue stood full too long",
    CloseCode.TOO_MANY_ATTEMPTS: "too many attempts or takeovers",
    CloseCode.BAD_FRAME: "frame malformed or not allowed in this state",
    CloseCode.AUTH_FAILED: "authentication failed",
    CloseCode.REVOKED: "device or token revoked",
    CloseCode.VERSION_UNSUPPORTED: "no common protocol version",
    CloseCode.REPLACED: "replaced by a newer connection",
    CloseCode.PAIRING_REQUIRED: "pairing required or denied",
}


class HubError(Exception):
    """Base class of all errors that this project raises on purpose.

    Attributes:
        limit: name of the limit that was reached; None for other errors.
    """

    code: ErrorCode = ErrorCode.INTERNAL
    limit: str | None = None

    @property
    def retryable(self) -> bool:
        """True if an unchanged retry may succeed."""
        return CATALOGUE[self.code].retryable


def first_error(error: Exception) -> Exception:
    """Return the first error of a task group, or *error* itself if it is no group of errors."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


class CodedError(HubError):
    """Error that no caller tells from others by its type: its code and message say all.

    Attributes:
        hint: more specific than the catalogue's; empty: there is none.
        limit: name of the limit that was reached.
        retry_after_s: wait before a retry, if known.
        members: additional fields of the problem response.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        hint: str = "",
        limit: str | None = None,
        retry_after_s: float | None = None,
        members: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code, self.hint, self.limit = code, hint, limit
        self.retry_after_s, self.members = retry_after_s, members


class AtAnotherNode(HubError):
    """Error: only the node can do it whose hub process is *boot_id*; nothing was done."""

    def __init__(self, code: ErrorCode, message: str, boot_id: BootId, *, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.boot_id, self.hint = code, boot_id, hint


class LimitReached(HubError):
    """Error: a limit was reached; its name is added to the message."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(f"{message} ({limit})")
        self.limit = limit


class ProtocolError(HubError):
    """Error: the session's rules were violated."""

    code = ErrorCode.WRONG_STATE


class LocalProtocolError(ProtocolError):
    """Error: this side called an operation that the session's state does not allow: a bug."""


class RemoteProtocolError(ProtocolError):
    """Error: the peer sent a frame that it may not send: close, do not crash."""

    def __init__(self, reason: ErrorCode, message: str, close: CloseCode = CloseCode.BAD_FRAME) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.close = close


class IllegalTransition(HubError):
    """Error: a state machine has no such move; nothing changed."""

    code = ErrorCode.ILLEGAL_TRANSITION


class DeliveryError(HubError):
    """Error: a frame could not be delivered to the device, or was not answered."""

    code = ErrorCode.DEVICE_GONE


class DeviceOffline(DeliveryError):
    """Error: the device is not connected."""

    code = ErrorCode.DEVICE_OFFLINE


class LinkLost(DeliveryError):
    """Error: the connection ended before the answer; *dispatched*: the frame was sent."""

    code = ErrorCode.DEVICE_GONE

    def __init__(self, message: str, *, dispatched: bool) -> None:
        super().__init__(message)
        self.dispatched = dispatched


class DeviceSlow(DeliveryError):
    """Error: the outgoing queue is full; the frame was not sent."""

    code = ErrorCode.DEVICE_SLOW


class TooManyCalls(DeliveryError):
    """Error: the device has the maximum number of open calls; the frame was not sent."""

    code = ErrorCode.TOO_MANY_CALLS


class CallInWork(DeliveryError):
    """Error: a call with this id is open on the connection, by another sender; the frame was not sent."""

    code = ErrorCode.TOO_MANY_CALLS


class CallTimedOut(DeliveryError):
    """Error: no answer within the deadline; the effect is unknown."""

    code = ErrorCode.CALL_TIMED_OUT


class CallNotGranted(DeliveryError):
    """Error: the device's owner does not grant it; the frame was not sent."""

    code = ErrorCode.NOT_GRANTED


class CallUnsupported(DeliveryError):
    """Error: the device does not list the capability; the frame was not sent."""

    code = ErrorCode.CALL_UNSUPPORTED


class DependencyFailed(HubError):
    """Base class of errors of a service that this one needs, as its database: loops try again."""
