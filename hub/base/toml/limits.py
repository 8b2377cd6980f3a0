"""Tables of hub.toml about limits, budgets, retention, audit and backups, with their defaults."""

from typing import Annotated, Final

from pydantic import (
    Field,
)

from hub.base.toml.values import (
    Days,
    Delay,
    Flag,
    Seconds,
    SettingsTable,
    Usd,
    Whole,
    live,
    reconnect,
    restart,
)

NANOS: Final = 1_000_000_000  # of a US dollar
KIB, MIB = 1024, 1024 * 1024
LogBytes = Annotated[int, Field(strict=True, ge=64 * KIB, le=KIB * MIB)]
DatabaseBytes = Annotated[int, Field(strict=True, ge=16 * MIB)]
ConvertBytes = Annotated[int, Field(strict=True, ge=256 * MIB)]  # Python and its libraries take 160 MiB
Rate = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e9)]  # per second


class Limits(SettingsTable):
    """``[limits]``: resource limits; reaching one results in a named error.

    Of several hubs on one database, each counts a limit *per node* alone, and all together one *per cluster*.
    """

    connections: Whole = live(
        10_000, "Concurrent device connections; also bounded by the limit of open files.", "per node"
    )
    connections_per_network: Whole = live(
        32, "Concurrent device connections of one IPv4 address or IPv6 /64.", "per node"
    )
    connections_per_user: Whole = live(16, "Connected devices of one user.", "per cluster")
    agents_per_user: Whole = live(
        1_000, "Agents of one user, of this file and of the API, without archived ones.", "per cluster"
    )
    new_connections_per_s: Rate = live(
        10.0, "New connections per second of one address; a burst of two seconds is allowed.", "per node"
    )
    frames_per_s: Rate = reconnect(
        200.0, "Frames per second of one device, pings included; faster devices are read slower."
    )
    bytes_per_s: Rate = reconnect(
        4.0 * MIB, "Bytes per second of one device; faster devices are read slower."
    )
    requests_per_s: Rate = live(
        50.0, "Requests per second of one device; a burst of four seconds is allowed."
    )
    auth_failures: Whole = live(10, "Failed attempts per minute of an address, key or token.")
    ping_interval_s: Seconds = reconnect(15.0, "Seconds between two pings to a device.")
    ping_timeout_s: Seconds = reconnect(
        10.0, "Seconds without an answer to a ping after which a connection is closed."
    )
    runs: Whole = live(32, "Concurrent runs.", "per node")
    runs_per_device: Whole = live(1, "Concurrent runs on one device.", "per cluster")
    connector_runs: Whole = live(8, "Concurrent runs that read connectors.", "per node")
    run_files: Whole = live(2_000, "Files read in one run; another run reads the others at once.")
    run_bytes: Whole = live(64 * 1024 * 1024, "Bytes read in one run; another run reads the others at once.")
    items_per_file: Whole = live(
        2_000, "New items of one file; with more, the others are left out and the file fails."
    )
    items_per_run: Whole = live(10_000, "New items of one run; the next run reads the other files.")
    run_wall_s: Seconds = live(3_600.0, "Time limit of a run, unless its schedule has one.")
    convert_memory_bytes: ConvertBytes = live(
        512 * MIB, "Memory limit of the process that converts a file to text."
    )
    convert_seconds: Seconds = live(60.0, "Time limit of that process; a file that takes longer is left out.")
    connected_s: Delay = live(5.0, "Time that a device is connected before it gets a scheduled run.")
    device_grace_s: Delay = live(15.0, "Time that a run waits for its device to reconnect.")
    drain_timeout_s: Seconds = live(45.0, "Time that active runs have to end when the hub stops.")
    restart_hold_s: Delay = restart(
        600.0, "Time without catching up after three starts with crashes between them."
    )
    posted_bytes: Whole = live(256 * KIB, "Maximum size of a webhook body.")
    operator_connections: Whole = restart(
        256, "Concurrent operator connections over TCP; as many again over the Unix sockets.", "per node"
    )
    operator_requests: Whole = restart(
        64,
        "Concurrent operator requests; half for one token or user, a quarter for the Unix socket.",
        "per node",
    )
    operator_event_streams: Whole = restart(
        16, "Concurrent event streams, divided in the same way.", "per node"
    )
    database_bytes: DatabaseBytes = live(
        4096 * MIB,
        "Size of the database, without free pages, above which ended work is kept for half of its periods of"
        " [retention], then for a quarter, and so on; two days at least.",
        "per cluster",
    )
    log_bytes: LogBytes = live(16 * MIB, "Bytes of log entries in the state folder, for hub logs --since.")


DEFAULTS: Final = Limits()


class BudgetSettings(SettingsTable):
    """``[budget]``: spending limits, which are never exceeded. Money counts where a model has a price."""

    run_usd: Usd = live(1.0, "Spending limit of a run in US dollars; its other files fail then. 0: no limit.")
    run_tokens: Whole | None = live(None, "Token limit of a run, of prompts and answers.")
    day_usd: Usd | None = live(
        None, "Spending limit of all runs per day (UTC) in US dollars; runs wait for the next day then."
    )
    day_tokens: Whole | None = live(
        None, "Token limit of all runs per day (UTC); runs wait for the next day then."
    )

    @property
    def run_cost_nanos(self) -> int | None:
        """Limit of one run in nanodollars, or None without a limit."""
        return round(self.run_usd * NANOS) or None

    @property
    def day_cost_nanos(self) -> int | None:
        """Limit of a day in nanodollars, or None without a limit."""
        return None if self.day_usd is None else round(self.day_usd * NANOS)


class RetentionSettings(SettingsTable):
    """``[retention]``: how long ended work is kept. Work in progress is always kept."""

    runs_days: Days = live(30, "Runs that succeeded.")
    failed_runs_days: Days = live(90, "Runs that failed.")
    runs_kept: Whole = live(50, "Newest ended runs of each agent that are kept at any age.")
    payload_days: Days = live(7, "Text of items, after the end of their run.")
    excerpts_days: Days = live(30, "Lines around the quote of an item that waits for a verdict, at most.")
    fires_days: Days = live(90, "Decisions about fires of schedules.")
    fires_kept: Whole = live(10_000, "Maximum number of fires per schedule.")
    activity_days: Days = live(90, "Notifications.")
    answers_days: Days = live(30, "Responses to requests with an idempotency key.")
    model_answers_days: Days = live(30, "Answers of models, since their last use.")
    model_answers_kept: Whole = live(100_000, "Maximum number of model answers.")
    model_calls_days: Days = live(90, "Costs of requests to models.")
    metric_minutes_days: Days = live(7, "Metrics of agents, by minute.")
    metric_hours_days: Days = live(90, "Metrics of agents, by hour; older reports are rejected.")
    messages_days: Days = live(90, "Messages between agents, after their final state.")
    seen_messages_days: Days = live(400, "Keys of messages that were read.")
    posted_days: Days = live(7, "Webhook posts and sign-ins, after their final state.")
    items_days: Days = live(
        400, "Items that no device has, and settled files, after they are gone from their source."
    )
    questions_days: Days = live(90, "Questions to people, after they were answered or withdrawn.")


class AuditSettings(SettingsTable):
    """``[audit]``: how long the record of who changed what is kept."""

    keep_days: Days = live(400, "Entries older than this are removed.")


class BackupSettings(SettingsTable):
    """``[backup]``: the backups that the hub makes of itself, in its state folder."""

    daily: Flag = live(True, "Make a backup every day, if the database is a file of this hub.")
    keep_days: Whole = live(7, "Number of days whose newest backup is kept.")
    keep_weeks: Whole = live(4, "Number of weeks whose newest backup is kept.")
