"""All proofs of the project: programs too slow for the tests, each with the property that it shows.

``python -m tests.proofs`` runs them. ``tests/proofs/test_table.py`` names a program that has no row here.
"""

from typing import Final, NamedTuple


class Proof(NamedTuple):
    """A program that shows a property of the product.

    Attributes:
        name: letters a to z and dashes.
        shows: the property, as one sentence.
        command: the arguments after ``python -m``. ``{seed}`` is replaced by the seed of a run, and
            ``{jobs}`` by the number of cores.
        parts: the arguments that are added for each part. A part takes half an hour at most,
            but of ``long`` two hours.
        needs: programs of the system without which the proof cannot run.
        group: a target of the Makefile, or a kind.
    """

    name: str
    shows: str
    command: str
    group: str
    parts: tuple[str, ...] = ("",)
    needs: tuple[str, ...] = ()


CLUSTER: Final = ("postgresql", "nats")

SOAK: Final = (
    Proof(
        "large-shares",
        "Large folders are read to the end, and the memory of the hub grows by a bounded amount.",
        "tests.scenarios.folders",
        "soak",
    ),
    Proof(
        "kills-folders",
        "No item is lost or doubled when a hub that reads folders is killed 200 times.",
        "tests.scenarios.kills --of folders --kills 200 --seed {seed}",
        "soak",
    ),
    *(
        Proof(
            f"kills-{mailbox}",
            f"No mail or item is lost or doubled when a hub that reads {source} is killed again and again.",
            f"tests.scenarios.kills --of {mailbox} --seed {{seed}}",
            "soak",
            needs=needs,
        )
        for mailbox, source, needs in (
            ("imap", "an IMAP mailbox", ("dovecot",)),
            ("gmail", "a mailbox of Gmail", ()),
            ("outlook", "a mailbox of Outlook", ()),
        )
    ),
    Proof(
        "kills-rude",
        "400 mails of a server that cuts connections reach the device once, with eight kills of the hub.",
        "tests.scenarios.kills --of rude --kills 8 --seed {seed}",
        "soak",
        needs=("dovecot",),
    ),
    Proof(
        "kills-hooks",
        "No delivery of a webhook is lost or doubled when its hub is killed again and again.",
        "tests.scenarios.kills --of hooks --seed {seed}",
        "soak",
    ),
    Proof(
        "deaths",
        "No item is lost or doubled when the hub dies before or after any commit or frame of a run.",
        "tests.scenarios.deaths",
        "soak",
    ),
    Proof(
        "recovery",
        "A hub that died with ten thousand live runs is ready again in time.",
        "tests.scenarios.recovery",
        "soak",
    ),
    Proof(
        "full-disk",
        "A hub that is killed on a full disk starts again on it, and its run ends once there is room.",
        "tests.scenarios.full_disk",
        "soak",
        needs=("unshare",),
    ),
    Proof(
        "database-states",
        "The texts about each bad state of the database name commands that bring the hub back to work.",
        "tests.scenarios.database_states",
        "soak",
    ),
    Proof(
        "accepted-settings",
        "hub check, hub serve and hub run accept and refuse the same settings files.",
        "tests.scenarios.accepted_settings --files 60 --seed {seed}",
        "soak",
    ),
    Proof(
        "half-answers",
        "No item is lost or doubled when a device in Node is killed 200 times within batches of calls.",
        "tests.scenarios.half_answers --kills 200 --seed {seed}",
        "soak",
        needs=("node",),
    ),
    Proof(
        "crowds-return",
        "A thousand devices reconnect within seconds, and all their overdue runs end.",
        "tests.scenarios.crowds --way come_back --seed {seed}",
        "soak",
    ),
    Proof(
        "crowds-stop",
        "A hub with a thousand connected devices stops within seconds and loses no run.",
        "tests.scenarios.crowds --way stop --seed {seed}",
        "soak",
    ),
    Proof(
        "ninety-days",
        "After ninety days of hourly runs the database is as large as after forty.",
        "tests.scenarios.ninety_days",
        "soak",
    ),
    Proof(
        "quiet-hour",
        "A run that finds no news adds a bounded number of bytes to the database.",
        "tests.scenarios.quiet_day --hours 1",
        "soak",
    ),
    Proof(
        "units",
        "300 devices stay with a hub that a service manager restarts after a stop, a kill and a hang.",
        "tests.scenarios.units",
        "soak",
        needs=("systemd-socket-activate",),
    ),
    Proof(
        "sinks",
        "A sink writes 1,000 items in a bounded multiple of the time of the plainest program.",
        "tests.scenarios.sinks",
        "soak",
    ),
    Proof(
        "ticks",
        "Items stay as their owner left them when a device is killed while it synchronizes ticks.",
        "tests.scenarios.ticks --seed {seed}",
        "soak",
    ),
    Proof(
        "lacking",
        "The device passes its tests in interpreters that lack names of Linux.",
        "tests.scenarios.lacking",
        "soak",
    ),
    Proof(
        "migrations",
        "A migration that is killed after any statement leaves the database unchanged, and can be completed.",
        "tests.scenarios.migrations",
        "soak",
        needs=("postgresql",),
    ),
    Proof(
        "upgrade",
        "No item is lost or doubled when a hub of an earlier release is upgraded within runs, and goes back.",
        "tests.scenarios.upgrade",
        "soak",
        parts=("--only file", "--only server"),
        needs=CLUSTER,
    ),
    Proof(
        "versions",
        "The last release and this source work with each other, as hub and as device, in both codecs.",
        "tests.scenarios.versions",
        "soak",
    ),
    Proof(
        "chaos",
        "After each fault of a cluster every item is there once and all hubs give the same answers.",
        "tests.scenarios.chaos --seeds 2 --devices 40",
        "soak",
        parts=(
            "--fault kill --fault roll --fault freeze",
            "--fault postgresql --fault partition --fault nats",
            "--fault 'partition from nats' --fault clock --fault disk",
        ),
        needs=CLUSTER,
    ),
    Proof(
        "small-file-in-time",
        "A small file is read in time while large texts of another user are read.",
        "tests.proofs.beside",
        "soak",
    ),
    Proof(
        "foreign-lines",
        "Rules take no wrong day from lines in languages that they do not read.",
        "tests.proofs.foreign_lines",
        "soak",
    ),
    Proof(
        "folder-in-terminal",
        "hub up and hub runs say how many of 5,000 files are read and left, and each item is there once.",
        "tests.proofs.large_folders",
        "soak",
    ),
    Proof(
        "folder-on-pages",
        "The pages say how many of 8,000 files are read and left, also after the hub is killed.",
        "tests.proofs.large_folders --page",
        "soak",
        needs=("chromium",),
    ),
    Proof(
        "long-texts",
        "Rules read each drawn text of 100 KB within a bounded processor time.",
        "tests.proofs.long_texts --seed {seed}",
        "soak",
    ),
    Proof(
        "lost-answers",
        "Runs succeed in time and lose no row when a device does not send some of its answers.",
        "tests.proofs.lost_answers",
        "soak",
    ),
    Proof(
        "own-lines",
        "No line of an owner is hidden, dated or marked because of mails of strangers.",
        "tests.proofs.own_lines --seed {seed}",
        "soak",
        needs=("postgresql",),
    ),
    Proof(
        "pauses",
        "No call of three HTTP clients is lost after pauses on connections that they keep.",
        "tests.proofs.pauses --seed {seed}",
        "soak",
    ),
    Proof(
        "readers-short",
        "No reader of foreign text fails or takes too long within a minute of random input.",
        "tests.fuzz --seconds 60 --seed {seed} --jobs {jobs}",
        "soak",
    ),
    Proof(
        "coordination-rounds",
        "No message between a hub and a gateway is lost or doubled when the wire or either side breaks.",
        "tests.scenarios.coordination_rounds --rounds 200 --seed {seed}",
        "soak",
    ),
    Proof(
        "outages",
        "hub doctor names each outage of the database and of the bus, and the logs grow by a bounded amount.",
        "tests.scenarios.outages",
        "soak",
        needs=CLUSTER,
    ),
    Proof(
        "first-hour",
        "A newcomer gets over each mistake of the first hour by the command that the hub prints.",
        "tests.scenarios.first_hour",
        "soak",
    ),
    Proof(
        "why",
        "hub why gives the planted reason of each of over 300 sentences, and remedies that work.",
        "tests.scenarios.why",
        "soak",
    ),
    Proof(
        "kills-many-mails",
        "No mail of a large mailbox at a server that cuts connections is lost or doubled with 20 kills.",
        "tests.scenarios.kills --of rude --mails 25000 --kills 20 --life-s 100",
        "long",
        parts=("--seed {seed}", "--seed {seed}1"),
        needs=("dovecot",),
    ),
    Proof(
        "steady",
        "Memory, descriptors and rows a run stay as they were in two hours of changes and cut connections.",
        "tests.scenarios.steady --minutes 120 --seed {seed}",
        "long",
    ),
)

LOCKS: Final = (
    Proof(
        "locks-sqlite",
        "Fences stay in order when holders of locks are stopped and killed, with a database in a file.",
        "tests.scenarios.locks --database sqlite --seed {seed}",
        "locks",
    ),
    Proof(
        "locks-postgresql",
        "Fences stay in order when holders of locks are stopped and killed, with PostgreSQL.",
        "tests.scenarios.locks --database postgresql --seed {seed}",
        "locks",
        needs=("postgresql",),
    ),
)

SEARCHES: Final = (
    Proof(
        "attack",
        "No attack makes a hub slow or large for the others, and each request is charged to its caller.",
        "tests.scenarios.attack_gate --minutes 5 --seed {seed}",
        "attack",
    ),
    Proof(
        "charges",
        "Callers are charged for most of the processor time that their requests cost.",
        "tests.scenarios.charges",
        "attack",
    ),
    Proof(
        "simulation",
        "The hub keeps all laws in 900 worlds of virtual time with kills, lost connections and wrong clocks.",
        "tests.simulation --seeds 300 --jobs {jobs}",
        "simulate",
        parts=("--first {seed}000", "--first {seed}300", "--first {seed}600"),
    ),
    Proof(
        "cron",
        "Cron schedules fire when a simple model says, around real changes of clocks.",
        "tests.hub.schedules.fuzz --cases 39000 --seed {seed}",
        "fuzz",
    ),
    Proof(
        "frames",
        "The hub reads streams of WebSocket frames as the WebSocket library does.",
        "tests.hub.links.wire_fuzz --cases 39000 --first {seed}00000",
        "fuzz",
    ),
    Proof(
        "readers",
        "No reader of foreign text fails or takes too long within ten minutes of random input.",
        "tests.fuzz --seconds 600 --seed {seed}",
        "fuzz",
        parts=(
            *("'frames of devices'", "'frames of hubs'", "http", "hub.toml", "cron", "'answers of models'"),
            *("mail", "files", "iCalendar", "feeds", "CalDAV"),
        ),
    ),
    Proof(
        "doubling",
        "Twice the text costs each reader of documents at most 2.2 times the processor time.",
        "tests.fuzz.doubling",
        "fuzz",
    ),
    Proof(
        "linear",
        "No regular expression that foreign text reaches takes more than linear time.",
        "tests.linear --full",
        "fuzz",
    ),
    Proof(
        "mutants",
        "The tests find 95 of a hundred faults that are drawn from all functions of the product.",
        "tests.mutants --seed {seed}",
        "mutants",
        parts=tuple(" ".join(map(str, range(first, first + 20))) for first in range(1, 101, 20)),
    ),
)

BENCH: Final = (
    Proof(
        "bench",
        "No row of the bench is beyond its hard bound or a tenth slower than the last release.",
        "tests.bench",
        "bench",
        parts=(
            "1 2 3 5 6 12 13 18",
            "10 20 21 22 26 28 30 31 34 41",
            "29 37 38 39 40",
            "7 8 32 33 35 36",
        ),
        needs=(*CLUSTER, "dovecot"),
    ),
    Proof(
        "instructions",
        "No small operation takes more machine instructions than its recorded figure allows.",
        "tests.bench.instructions",
        "bench",
        needs=("valgrind",),
    ),
    Proof(
        "small-model",
        "The hub finds more tasks of notes than the embedded model alone; only figures are printed.",
        "tests.bench.score_model --seed {seed}",
        "evaluation",
    ),
    Proof(
        "sink-pace",
        "One change at a sink takes time that is linear in the number of rows; only figures are printed.",
        "tests.hub.device.sinks.pace",
        "bench",
    ),
)

EVALUATION: Final = tuple(
    Proof(name, shows, f"tests.evaluation {bar}", group)
    for name, bar, group, shows in (
        ("planted-facts", "1", "evaluation", "Extraction finds the facts planted in forty long documents."),
        ("unchanged-folder", "3", "evaluation", "An unchanged folder costs no question to the model."),
        ("item-places", "4", "evaluation", "The place of each item holds its quote."),
        ("injection", "injection", "evaluation", "Planted orders that a model obeys are marked as such."),
        ("bad-days", "7", "evaluation", "Sums and budgets are right on bad days of a provider of models."),
        ("gold", "gold", "evaluation", "The small model reaches its bars on the English gold set."),
        (
            "run-kills",
            "8",
            "evaluation",
            "No item is lost or doubled at ten kills in a run of 200 documents.",
        ),
        ("bombs", "11", "evaluation", "Bombs, endless and broken files stop no reader."),
        ("speed", "12", "evaluation", "A thousand questions of 200 ms each are asked in time."),
        (
            "metrics",
            "metrics",
            "evaluation",
            "Percentiles of a million samples are within 1 % of exact ones.",
        ),
        ("prose", "prose", "evaluation", "The rules for prose reach their bars on the gold sets."),
        ("real-formats", "files", "evaluation", "The rules reach their bars on files of real formats."),
        ("installed-files", "real", "evaluation", "The rules find few items in files of installed programs."),
        (
            "calibration",
            "calibration",
            "evaluation",
            "Calibration finds the best size of chunks for three models.",
        ),
        (
            "verdicts",
            "verdicts",
            "evaluation",
            "Fewer items of a kind that a reviewer rejected are suggested later.",
        ),
        (
            "extractors",
            "peers",
            "peers",
            "LangExtract and Instructor find no more of the planted facts than the hub.",
        ),
    )
)

PEERS: Final = (
    Proof(
        "gateways",
        "Each verb works with a real OpenClaw gateway.",
        "tests.gateways",
        "peers",
        needs=("npm",),
    ),
    Proof(
        "connectors",
        "The connectors work with servers of others.",
        "tests.connectors",
        "peers",
        needs=("npm",),
    ),
    Proof(
        "autobahn",
        "The device port passes the Autobahn test suite, but for explained cases.",
        "tests.autobahn",
        "peers",
    ),
    Proof(
        "cluster",
        "No item is lost or doubled when one of three hubs with 20 devices is killed within runs.",
        "tests.scenarios.cluster",
        "cluster",
        needs=CLUSTER,
    ),
    Proof(
        "containers",
        "The image is built, and runs alone and as compose.yaml says.",
        "tests.release.container",
        "release",
        needs=("podman", "buildah", "crun", "unshare", "ip", "mmdebstrap"),
    ),
    Proof(
        "release",
        "All that a release gives to people is built twice with the same bytes, installed and checked.",
        "tests.release",
        "release",
        needs=("npm",),
    ),
)

PROOFS: Final = (*SOAK, *LOCKS, *SEARCHES, *BENCH, *EVALUATION, *PEERS)

# Programs that show no property, and the reason.
NO_PROOFS: Final = {
    "tests.evaluation.judging": "learns weights from labelled files that are not in the repository",
    "tests.evaluation.rounds": "measures labelled files that are not in the repository",
    "tests.evaluation.training": "learns weights",
}

# Proofs that CI runs: no bound of time, server elsewhere or history of git decides them.
IN_CI: Final = frozenset(
    {
        *(
            "accepted-settings",
            "database-states",
            "deaths",
            "half-answers",
            "coordination-rounds",
        ),
        *(
            "migrations",
            "ticks",
            "quiet-hour",
            "foreign-lines",
            "own-lines",
            "first-hour",
            "why",
        ),
        *("cron", "frames", "linear", "simulation", "locks-sqlite", "locks-postgresql"),
        *("prose", "real-formats", "calibration", "verdicts", "metrics"),
    }
)
