"""``[limits]``, ``[budget]``, ``[retention]``, ``[audit]``, ``[backup]``: how much the hub uses and keeps."""

from typing import Annotated

from pydantic import Field

from hub.settings.model_settings import Usd
from hub.settings.values import Days, Delay, Flag, Seconds, Table, Whole, live, reconnect, restart

KIB, MIB = 1024, 1024 * 1024
HelloSeconds = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=15)]  # lifetime of a nonce
HelloBytes = Annotated[int, Field(strict=True, ge=KIB, le=MIB)]
MessageBytes = Annotated[int, Field(strict=True, ge=64 * KIB, le=MIB)]  # maximum of the protocol
ConvertBytes = Annotated[int, Field(strict=True, ge=256 * MIB)]  # Python and its libraries take 160 MiB
ConfigBytes = Annotated[int, Field(strict=True, ge=1, le=256 * KIB)]  # a frame has room for four times it
DocumentBytes = Annotated[int, Field(strict=True, ge=KIB, le=256 * KIB)]  # as JSON, which must fit a frame
MemoryBytes = Annotated[int, Field(strict=True, ge=KIB, le=256 * KIB)]  # must fit a frame
SoulBytes = Annotated[int, Field(strict=True, ge=KIB, le=256 * KIB)]  # maximum of a device's call
Rate = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e9)]  # per second


class Limits(Table):
    """``[limits]``: resource limits; reaching one results in a named error."""

    handshake_timeout_s: Seconds = restart(5.0, "For a device to finish the upgrade to a WebSocket.")
    hello_timeout_s: HelloSeconds = reconnect(10.0, "For a device to say who it is; 15 at most.")
    hello_bytes: HelloBytes = reconnect(16 * KIB, "The longest message before a device is known.")
    message_bytes: MessageBytes = reconnect(MIB, "The longest message of a device that is known.")
    message_fragments: Whole = reconnect(4_096, "Parts of one message.")
    strangers: Whole = live(256, "Connections that have not said who they are.")
    strangers_per_network: Whole = live(16, "The same of one address; of IPv6, of one /64.")
    connections: Whole = live(10_000, "Device connections; always fewer than files may be open.")
    connections_per_network: Whole = live(32, "The same of one address; of IPv6, of one /64.")
    connections_per_user: Whole = live(16, "Connected devices of one user.")
    new_connections_at_once: Whole = live(20, "New connections of one address in one go.")
    new_connections_per_s: Rate = live(10.0, "How many more of them a second.")
    spare_files: Whole = live(256, "Open files kept for the rest; at most a quarter of what may be open.")
    auth_failures: Whole = live(10, "Failed attempts of one address, key or token in the window.")
    auth_window_s: Seconds = live(60.0, "How long a failed attempt is remembered.")
    auth_wait_s: Seconds = live(300.0, "The wait after too many; doubled each time it happens again.")
    auth_wait_most_s: Seconds = live(3_600.0, "The longest wait after too many.")
    pairing_ttl_s: Seconds = live(600.0, "How long the pairing code of a device is good for.")
    pairings: Whole = live(50, "Devices that wait for a person to let them in.")
    pairings_per_network: Whole = live(3, "The same of one address; of IPv6, of one /64.")
    key_rotation_wait_s: Delay = live(60.0, "After a device has replaced its key, until it may again.")
    takeovers: Whole = live(6, "How often a device may take its own place in the window.")
    takeover_window_s: Seconds = live(60.0, "How long a takeover is remembered.")
    takeover_wait_s: Seconds = live(300.0, "After too many takeovers, whoever is connected stays so long.")
    frames_per_s: Rate = reconnect(200.0, "Frames of one device, pings too; beyond it is read slower.")
    bytes_per_s: Rate = reconnect(4.0 * MIB, "Bytes of one device; beyond it is read slower.")
    outgoing_bytes: Whole = reconnect(MIB, "Unsent, for one device; beyond it nothing is added.")
    outgoing_frames: Whole = reconnect(1_024, "The same, in frames that wait to be written.")
    ping_interval_s: Seconds = reconnect(15.0, "Between two pings to a device.")
    ping_timeout_s: Seconds = reconnect(10.0, "A device that answers no ping within this is away.")
    pending_calls: Whole = reconnect(64, "Calls without an answer, per device.")
    write_timeout_s: Seconds = reconnect(10.0, "A device that does not read for so long is cut off.")
    call_timeout_s: Seconds = live(30.0, "Then a call is sent again, with the same id.")
    wake_answer_s: Seconds = live(60.0, "Then a device that was to wake an agent is told again.")
    call_sends: Whole = live(5, "How often a call is sent before it is given up.")
    run_files: Whole = live(2_000, "Files of one run.")
    run_bytes: Whole = live(64 * 1024 * 1024, "Bytes of one run.")
    items_per_file: Whole = live(2_000, "Items of one file; the further ones are left out, and it fails.")
    items_per_run: Whole = live(10_000, "Items of one run; what it has not read by then is the next run's.")
    run_wall_s: Seconds = live(3_600.0, "How long a run may take whose schedule does not say.")
    convert_memory_bytes: ConvertBytes = live(512 * MIB, "For the process that makes text of one file.")
    convert_seconds: Seconds = live(60.0, "For the same; a file that takes longer is left out.")
    runs: Whole = live(32, "Runs at once.")
    runs_per_device: Whole = live(1, "Runs at once on one device.")
    connector_runs: Whole = live(8, "Of them, those that read a mailbox or the like.")
    posted_waiting: Whole = live(1_000, "What was posted to one webhook and is not read yet.")
    posted_bytes: Whole = live(256 * KIB, "The longest body that may be posted to a webhook.")
    posts_at_once: Whole = live(32, "Posts to webhooks that are answered at once.")
    webhook_connections: Whole = live(128, "Connections to the port of webhooks.")
    webhook_connections_per_network: Whole = live(64, "The same of one address; of IPv6, of one /64.")
    waiting_runs_per_device: Whole = live(1_000, "Runs of schedules that wait; further fires are dropped.")
    waiting_runs_per_schedule: Whole = live(100, "The same of one schedule.")
    waiting_manual_runs: Whole = live(20, "Runs of one agent that wait and that somebody started.")
    waiting_manual_runs_per_device: Whole = live(100, "The same of all agents of one device.")
    agents: Whole = live(10_000, "Agents made over the API may not be more with those of hub.toml.")
    agents_per_user: Whole = live(1_000, "The same of one user.")
    templates: Whole = live(200, "Templates made over the API may not be more with those of hub.toml.")
    run_context_bytes: DocumentBytes = live(16 * KIB, "Of what is said of one run beside its settings.")
    capabilities_per_agent: Whole = live(256, "Capabilities of one agent, each version counted.")
    capability_config_bytes: DocumentBytes = live(16 * KIB, "Of the config of one capability.")
    checkpoints_per_agent: Whole = live(16, "Scopes of which one agent has a checkpoint.")
    checkpoint_bytes: DocumentBytes = live(64 * KIB, "Of the state in one checkpoint.")
    waiting_requests: Whole = live(16, "Requests of one device that wait for their answer.")
    requests_per_s: Rate = live(50.0, "Requests of one device; four seconds of them may come at once.")
    device_events: Whole = live(256, "Events that wait to be told to one device; further ones are lost.")
    metric_series_per_agent: Whole = live(50, "Series of measurements of one agent, beside the hub's own.")
    metric_series: Whole = live(2_000, "The same of all agents together.")
    metric_reports_at_once: Whole = live(50, "Reports of measurements of one device in one go.")
    metric_reports_per_s: Rate = live(5.0, "How many more of them a second.")
    metric_points: Whole = live(2_000, "Figures of one answer about measurements.")
    metric_buckets: Whole = live(100_000, "Minutes or hours of measurements that one answer is made of.")
    config_keys: Whole = live(256, "Configs of one agent, beside those of hub.toml.")
    config_value_bytes: ConfigBytes = live(64 * KIB, "Of the value of one config.")
    config_bytes: ConfigBytes = live(256 * KIB, "Of all configs of one agent, keys and values.")
    resource_usage_bytes: Whole = live(4 * KIB, "Of one agent, in a heartbeat; more of it is not kept.")
    locks_per_user: Whole = live(1_000, "Names of locks of one user; free ones make room for new ones.")
    lock_waits: Whole = live(100, "Runs and requests of devices that wait for one lock.")
    lock_waits_per_device: Whole = live(16, "Requests of one device that wait for locks.")
    connected_s: Delay = live(5.0, "A device is there so long before it gets a run that nobody asked for.")
    device_grace_s: Delay = live(15.0, "A device away no longer than this has not left its run.")
    cancel_grace_s: Delay = live(30.0, "What a device gets to let go of a cancelled run.")
    paused_days: Days = live(7, "What a run waits for must come within these, or it has failed.")
    restart_hold_s: Delay = restart(
        600.0, "After starts with crashes between them nothing is caught up for it."
    )
    drain_timeout_s: Seconds = live(45.0, "What running work gets when the hub stops.")
    operator_body_bytes: Whole = live(1024 * 1024, "The longest body of an operator's request.")
    device_tokens: Whole = live(20_000, "Tokens of devices that count at once.")
    device_tokens_per_user: Whole = live(5_000, "Of them, those made by operators who see one user only.")
    operator_tokens: Whole = live(100, "Tokens of operators that count at once.")
    operator_tokens_per_user: Whole = live(25, "Of them, those of one user.")
    operator_token_days: Days = live(90, "How long a token of an operator counts that has no end of its own.")
    agent_tokens_per_agent: Whole = live(16, "Tokens of one agent, by which it asks for itself.")
    agent_token_days: Days = live(90, "How long an agent's token counts that has no end of its own.")
    boards_per_user: Whole = live(1_000, "Boards of one user.")
    members_per_board: Whole = live(64, "Agents on one board.")
    memory_items_per_board: Whole = live(10_000, "What one board remembers; nothing goes by itself.")
    memory_bytes: MemoryBytes = live(64 * KIB, "The text of one thing that a board remembers.")
    open_messages_per_user: Whole = live(10_000, "Messages of one user that are under way to agents.")
    agent_message_bytes: MemoryBytes = live(32 * KIB, "The text of one message to an agent.")
    boards_per_broadcast: Whole = live(1_000, "Boards whose leads one broadcast goes to.")
    open_questions_per_user: Whole = live(200, "Questions to one person that wait for an answer.")
    soul_bytes: SoulBytes = live(256 * KIB, "Of the SOUL.md of an agent that is to be written.")
    soul_versions: Whole = live(200, "Versions of the SOUL.md of one agent that are kept, the newest.")
    users: Whole = live(1_000, "Users, who own devices and agents.")
    invitations: Whole = live(100, "Invitations that are open at once.")
    invitations_per_user: Whole = live(25, "Of them, those made by operators who see one user only.")
    invitation_ttl_s: Seconds = live(600.0, "How long an invitation counts that has no end of its own.")
    wrong_codes: Whole = restart(
        5, "Wrong pairing codes of one operator, in the window; then it has to wait."
    )
    wrong_code_window_s: Seconds = restart(600.0, "How long a wrong pairing code is remembered.")
    wrong_code_wait_s: Seconds = restart(600.0, "How long an operator waits after too many wrong codes.")
    operator_body_timeout_s: Seconds = restart(30.0, "For the body of an operator's request to be told.")
    operator_connections: Whole = restart(
        256, "Connections of operators over TCP at once; so many again over the Unix sockets."
    )
    operator_connections_per_network: Whole = restart(64, "Over TCP, of one address; of IPv6, of one /64.")
    operator_strangers: Whole = restart(64, "Over TCP, those that have not shown a good token.")
    operator_strangers_per_network: Whole = restart(16, "The same of one address; of IPv6, of one /64.")
    operator_new_connections_at_once: Whole = restart(256, "New ones over TCP of one address in one go.")
    operator_new_connections_per_s: Rate = restart(256.0, "How many more of them a second.")
    operator_head_timeout_s: Seconds = restart(5.0, "For an operator's request to be told up to its body.")
    operator_requests: Whole = restart(
        64, "Requests of operators at once; one token or user gets half, a quarter is the Unix socket's."
    )
    operator_event_streams: Whole = restart(16, "Event streams at once, shared out in the same way.")
    log_entries: Whole = restart(2_000, "Of the log, kept for hub logs and for event streams.")
    log_queue: Whole = restart(8_192, "Log entries that wait to be written; further ones are dropped.")
    log_repeats: Whole = restart(10, "Of one log event in a minute; further ones are counted instead.")


class BudgetSettings(Table):
    """``[budget]``: spending limits, which are never exceeded. Money counts where a model has a price."""

    run_usd: Usd = live(1.0, "US dollars of one run; then its other files fail. 0: no limit.")
    run_tokens: Whole | None = live(None, "Tokens of one run, of questions and answers.")
    day_usd: Usd | None = live(None, "US dollars of all runs in a day (UTC); then runs wait for the next.")
    day_tokens: Whole | None = live(None, "Tokens of all runs in a day, likewise.")


class RetentionSettings(Table):
    """``[retention]``: how long ended work is kept. Work in progress is always kept."""

    runs_days: Days = live(30, "Runs that went well.")
    failed_runs_days: Days = live(90, "Runs that failed.")
    runs_kept: Whole = live(50, "Of each agent, those that ended last, at any age.")
    payload_days: Days = live(7, "The text of items, after their run's end.")
    fires_days: Days = live(90, "What became of each fire of a schedule.")
    fires_kept: Whole = live(10_000, "Fires of each schedule, at most.")
    activity_days: Days = live(90, "What was told to people.")
    answers_days: Days = live(30, "Answers to requests with an idempotency key.")
    model_answers_days: Days = live(30, "Answers of models that nobody has used since.")
    model_answers_kept: Whole = live(100_000, "Answers of models, at most.")
    model_calls_days: Days = live(90, "What each question to a model cost.")
    metric_minutes_days: Days = live(7, "Measurements of agents, by the minute.")
    metric_hours_days: Days = live(90, "Measurements of agents, by the hour; what is older is not taken in.")
    messages_days: Days = live(90, "Messages between agents, after nothing further is done about them.")
    seen_messages_days: Days = live(400, "Which messages of mailboxes were looked at.")
    posted_days: Days = live(7, "What was posted to webhooks, and sign-ins, after they were settled.")
    questions_days: Days = live(90, "Questions to people, after they were answered or taken back.")


class AuditSettings(Table):
    """``[audit]``: how long the record of who changed what is kept."""

    keep_days: Days = live(400, "Entries older than this are removed, the oldest first.")


class BackupSettings(Table):
    """``[backup]``: the backups that the hub makes of itself, in its state folder."""

    daily: Flag = live(True, "One a day, where the database is a file of this hub.")
    keep_days: Whole = live(7, "The newest of so many days that have one.")
    keep_weeks: Whole = live(4, "The newest of so many weeks that have one.")
