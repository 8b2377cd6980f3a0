"""``[limits]``, ``[budget]``, ``[retention]``, ``[audit]``, ``[backup]``: how much the hub uses and keeps."""

from typing import Annotated, Final

from pydantic import Field

from hub.settings.values import Days, Delay, Flag, Seconds, Table, Usd, Whole, live, reconnect, restart

NANOS: Final = 1_000_000_000  # of a US dollar
KIB, MIB = 1024, 1024 * 1024
LogBytes = Annotated[int, Field(strict=True, ge=64 * KIB, le=KIB * MIB)]
ConvertBytes = Annotated[int, Field(strict=True, ge=256 * MIB)]  # Python and its libraries take 160 MiB
Rate = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e9)]  # per second


class Limits(Table):
    """``[limits]``: resource limits; reaching one results in a named error."""

    connections: Whole = live(10_000, "Device connections; always fewer than files may be open.")
    connections_per_network: Whole = live(32, "The same of one address; of IPv6, of one /64.")
    connections_per_user: Whole = live(16, "Connected devices of one user.")
    new_connections_per_s: Rate = live(10.0, "New ones of one address a second; two seconds of them at once.")
    frames_per_s: Rate = reconnect(200.0, "Frames of one device, pings too; beyond it is read slower.")
    bytes_per_s: Rate = reconnect(4.0 * MIB, "Bytes of one device; beyond it is read slower.")
    requests_per_s: Rate = live(50.0, "Requests of one device; four seconds of them may come at once.")
    auth_failures: Whole = live(10, "Failed attempts of an address, key or token in a minute.")
    ping_interval_s: Seconds = reconnect(15.0, "Between two pings to a device.")
    ping_timeout_s: Seconds = reconnect(10.0, "A device that answers no ping within this is away.")
    runs: Whole = live(32, "Runs at once.")
    runs_per_device: Whole = live(1, "Runs at once on one device.")
    connector_runs: Whole = live(8, "Of them, those that read a mailbox or the like.")
    run_files: Whole = live(2_000, "Files of one run.")
    run_bytes: Whole = live(64 * 1024 * 1024, "Bytes of one run.")
    items_per_file: Whole = live(2_000, "Items of one file; the further ones are left out, and it fails.")
    items_per_run: Whole = live(10_000, "Items of one run; what it has not read by then is the next run's.")
    run_wall_s: Seconds = live(3_600.0, "How long a run may take whose schedule does not say.")
    convert_memory_bytes: ConvertBytes = live(512 * MIB, "For the process that makes text of one file.")
    convert_seconds: Seconds = live(60.0, "For the same; a file that takes longer is left out.")
    connected_s: Delay = live(5.0, "A device is there so long before it gets a run that nobody asked for.")
    device_grace_s: Delay = live(15.0, "A device away no longer than this has not left its run.")
    drain_timeout_s: Seconds = live(45.0, "What running work gets when the hub stops.")
    restart_hold_s: Delay = restart(
        600.0, "After starts with crashes between them nothing is caught up for it."
    )
    posted_bytes: Whole = live(256 * KIB, "The longest body that may be posted to a webhook.")
    operator_connections: Whole = restart(
        256, "Connections of operators over TCP at once; so many again over the Unix sockets."
    )
    operator_requests: Whole = restart(
        64, "Requests of operators at once; one token or user gets half, a quarter is the Unix socket's."
    )
    operator_event_streams: Whole = restart(16, "Event streams at once, shared out in the same way.")
    log_bytes: LogBytes = restart(16 * MIB, "Of log entries in the state folder, for hub logs --since.")


DEFAULTS: Final = Limits()


class BudgetSettings(Table):
    """``[budget]``: spending limits, which are never exceeded. Money counts where a model has a price."""

    run_usd: Usd = live(1.0, "US dollars of one run; then its other files fail. 0: no limit.")
    run_tokens: Whole | None = live(None, "Tokens of one run, of questions and answers.")
    day_usd: Usd | None = live(None, "US dollars of all runs in a day (UTC); then runs wait for the next.")
    day_tokens: Whole | None = live(None, "Tokens of all runs in a day, likewise.")

    @property
    def run_cost_nanos(self) -> int | None:
        """Limit of one run in nanodollars, or None without a limit."""
        return round(self.run_usd * NANOS) or None

    @property
    def day_cost_nanos(self) -> int | None:
        """Limit of a day in nanodollars, or None without a limit."""
        return None if self.day_usd is None else round(self.day_usd * NANOS)


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
