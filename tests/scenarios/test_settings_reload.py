"""A running hub and its settings file: each step of a reload broken, and a start with a broken file."""

import os
import signal
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import anyio
import anyio.to_thread
import pytest

from hub.api.http.listening import listen_on_tcp
from hub.base.toml.values import HostPort
from hub.settings.reading import LAST_GOOD
from tests.scenarios.scene import are_there_once, is_asked, scene, sentences, write
from tests.support.certificates import write_certificate
from tests.support.oracle import Oracle
from tests.support.processes import POLL_S, ROOT, SETTINGS, START_TIMEOUT_S, HubProcess

SCHEDULED = 'schedule = "0 7 * * 1-5"\n[reload]\nwatch = false\n[limits]\nruns = 4\n'
MODEL = (
    '[model]\nkind = "openai"\nbase_url = "https://host/v1"\nname = "m"\napi_key = { env = "NO_SUCH_KEY" }\n'
)


class Site:
    """A hub with TLS on its device port, and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "hub.toml"
        self.files = write_certificate(folder)
        self.text = (SETTINGS.format(model="") + SCHEDULED).replace(
            "[listen.devices]",
            f'[listen.devices]\ntls = {{ certificate = "{self.files.certificate.name}",'
            f' key = "{self.files.key.name}" }}',
        )
        self.hub = HubProcess(folder, settings=self.text)

    async def command(self, *words: str) -> CompletedProcess[bytes]:
        """``hub`` with *words*, to its end."""
        return await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(self.folder), *words], check=False, cwd=ROOT
        )

    def is_scheduled(self) -> bool:
        """Return whether the scheduler has computed the next fire, as it does after the start."""
        with closing(sqlite3.connect(self.folder / "hub.db")) as db:
            (unscheduled,) = db.execute(
                "SELECT count(*) FROM schedules WHERE next_fire_at IS NULL"
            ).fetchone()
            return not unscheduled

    async def stand(self) -> dict[str, object]:
        """All that a reload which fails must leave as it is."""
        config = (await self.hub.ask("GET", "/v1/config")).json()
        del config["refused"]
        port = (await self.hub.get("/v1/status"))["listeners"]["devices"].rpartition(":")[2]
        with closing(sqlite3.connect(self.folder / "hub.db")) as db:
            rows = [
                db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("agents", "schedules")
            ]
        return {
            "config": config,
            "rows": rows,
            "last good": (self.folder / LAST_GOOD).read_bytes(),
            "certificate": await anyio.to_thread.run_sync(
                ssl.get_server_certificate, ("127.0.0.1", int(port))
            ),
        }


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    await site.hub.start()
    try:
        with anyio.fail_after(START_TIMEOUT_S):
            while not site.is_scheduled():
                await anyio.sleep(POLL_S)
        yield site
    finally:
        await site.hub.close()


Break = Callable[[Site, int], None]


def text(old: str, new: str) -> Break:
    def break_it(site: Site, _: int) -> None:
        site.file.write_text(site.text.replace(old, new))

    return break_it


def port(site: Site, taken: int) -> None:
    site.file.write_text(
        site.text.replace(
            '[listen.operator]\naddress = "127.0.0.1:0"', f'[listen.operator]\naddress = "127.0.0.1:{taken}"'
        )
    )


def certificate(site: Site, _: int) -> None:
    site.files.key.write_bytes(write_certificate(site.folder, "other").key.read_bytes())


def name(site: Site, _: int) -> None:
    """The agent that the file declares is one made over the API."""
    with closing(sqlite3.connect(site.folder / "hub.db")) as db, db:
        db.execute("UPDATE agents SET source = 'api'")


# How a step fails, the text before the value at fault, and the message.
STEPS: dict[str, tuple[Break, str, str]] = {
    "syntax": (text("[limits]", "[limits"), "[limits", "Expected ']' at the end of a table"),
    "type": (text("runs = 4", 'runs = "4"'), "runs = ", "limits.runs: a whole number is expected"),
    "secret": (
        text("[[agents]]", MODEL + "[[agents]]"),
        "api_key = ",
        "model.api_key: the environment",
    ),
    "port": (port, "[listen.operator]\naddress = ", "listen.operator.address: cannot listen on 127.0.0.1:"),
    "certificate": (certificate, "tls = ", "listen.devices.tls: the key"),
    "schedule": (text("0 7 * * 1-5", "0 0 31 2 *"), "schedule = ", "agents.notes.schedule: never fires"),
    "template": (
        text("schedule =", 'template = "nope"\nschedule ='),
        "template = ",
        "agents.notes.template: there is no template 'nope'",
    ),
    "name": (name, "[[agents]]\nname = ", "agents.notes.name: an agent created over the API has this name"),
}


def place_after(text: str, before: str) -> str:
    """Line and column of what follows *before* in *text*."""
    end = text.index(before) + len(before)
    return f"{text.count(chr(10), 0, end) + 1}:{end - text.rfind(chr(10), 0, end)}"


@pytest.mark.soak
async def test_reload_failing_at_any_step_changes_nothing(site: Site) -> None:
    with listen_on_tcp(HostPort("127.0.0.1", 0)) as other:
        for step, (break_it, place, message) in STEPS.items():
            break_it(site, other.getsockname()[1])
            told = f"hub.toml:{place_after(site.file.read_text(), place)}: error: {message}"
            before = await site.stand()
            done = await site.command("reload")
            assert done.returncode == 78, (step, done.stderr)
            assert told in done.stderr.decode(), (step, done.stderr)
            assert await site.stand() == before, step
            (refused,) = (await site.hub.get("/v1/config"))["refused"]
            assert refused["message"] in told + done.stderr.decode()
            site.file.write_text(site.text)
            if step == "certificate":
                write_certificate(site.folder)
            if step != "name":
                await site.hub.post("/v1/reload")


async def test_reload_reaches_executing_services(site: Site) -> None:
    before = await site.stand()
    write_certificate(site.folder)
    site.file.write_text(site.text.replace("0 7 * * 1-5", "0 8 * * 1-5").replace("runs = 4", "runs = 5"))
    done = await site.command("reload")
    assert (done.returncode, done.stdout.decode().splitlines()) == (
        0,
        [
            "agents.notes: applies at once",
            "limits.runs: applies at once",
            "listen.devices.tls: applies at once",
        ],
    )
    assert (await site.stand())["certificate"] != before["certificate"]
    (schedule,) = (await site.hub.get("/v1/agents/notes/next"))["schedules"]
    assert schedule["expr"] == "0 8 * * 1-5"
    assert [fire["at"][11:16] for fire in schedule["next_fires"]] == ["08:00"] * 5


@pytest.mark.soak
async def test_renewed_certificate_and_new_user_are_reported_and_audited(
    site: Site,
) -> None:
    write_certificate(site.folder)
    site.file.write_text(site.text.replace("[[agents]]", '[[agents]]\nuser = "nobody"'))
    checked = await site.command("check", str(site.file), "--against-running")
    done = await site.command("reload")
    for told in (checked, done):
        assert told.returncode == 0
        assert told.stdout.decode().splitlines()[-3:] == [
            "agents.notes (of nobody): applies at once",
            "listen.devices.tls: applies at once",
            "agents.notes (of owner): is archived",
        ]
    warned = "warning: agents.notes.user: makes user 'nobody' - if the name is mistyped"
    assert (warned in checked.stdout.decode(), warned in done.stderr.decode()) == (True, True)
    await site.hub.says("user.named_first")
    (entry, *_) = (await site.hub.get("/v1/audit?limit=1"))["entries"]
    assert entry["detail"] == {
        "generation": 2,
        "live": "agents.notes (of nobody), listen.devices.tls",
        "archived": "agents.notes (of owner)",
    }


@pytest.mark.soak
async def test_sighup_reloads_the_settings(site: Site) -> None:
    site.file.write_text(site.text.replace("runs = 4", "runs = 5"))
    assert site.hub.process is not None
    os.kill(site.hub.process.pid, signal.SIGHUP)
    with anyio.fail_after(20):
        while (await site.hub.get("/v1/config"))["settings"]["limits"]["runs"] != 5:
            await anyio.sleep(POLL_S)


@pytest.mark.soak
async def test_hub_with_a_broken_file_starts_on_the_last_good_settings_and_reports_the_file(
    site: Site,
) -> None:
    assert await site.hub.stop() == 0
    site.file.write_text(site.text.replace("runs = 4", "runs = 0"))
    place = place_after(site.file.read_text(), "runs = ")
    told = f"{site.file}:{place}: error: limits.runs: must be at least 1"

    await site.hub.start()
    await site.hub.says(told)
    ready = await site.hub.get("/readyz")
    assert ready["ready"]
    assert [one["id"] for one in ready["issues"]] == ["settings.last_good"]
    (issue,) = [
        one for one in (await site.hub.get("/v1/issues"))["issues"] if one["id"] == "settings.last_good"
    ]
    assert told in str(issue)
    assert (await site.hub.get("/v1/config"))["settings"]["limits"]["runs"] == 4

    site.file.write_text(site.text.replace("runs = 4", "runs = 6"))
    assert (await site.command("reload")).returncode == 0
    assert not (await site.hub.get("/readyz"))["degraded"]
    assert await site.hub.stop() == 0

    site.file.write_text("[")
    refused = await site.command("serve", "--config", str(site.file), "--strict-start")
    assert refused.returncode == 78
    assert f"{site.file}:1:2: error:" in refused.stderr.decode()


@pytest.mark.slow
async def test_each_change_of_settings_is_in_the_history_and_can_be_reverted(site: Site) -> None:
    async def said(*words: str) -> list[str]:
        done = await site.command("config", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    site.file.write_text(site.text.replace("runs = 4", "runs = 5   # mine"))  # 2: an edit of the file
    assert (await site.command("reload")).returncode == 0
    await said("set", "limits.runs=6", "agents.notes.priority=3")  # 3: the command line
    edit = {"values": {"limits.runs": 7}, "without": ["agents.notes.schedule"]}
    assert (await site.hub.ask("PATCH", "/v1/config", json=edit)).status_code == 200  # 4: REST
    assert await site.hub.stop() == 0
    site.file.write_text(site.file.read_text().replace("runs = 7", "runs = 8"))  # 5: while the hub is down
    await site.hub.start()

    told = [line.split() for line in await said("history", "limits.runs")]
    assert [(line[0], *line[-3:]) for line in told[1:]] == [
        ("5", "limits.runs", "7", "8"),
        ("4", "limits.runs", "6", "7"),
        ("3", "limits.runs", "5", "6"),
        ("2", "limits.runs", "4", "5"),
    ]
    assert await said("diff") == ["- limits.runs = 7", "+ limits.runs = 8"]
    assert await said("diff", "3") == [
        '- agents.notes.schedule = "0 7 * * 1-5"',
        "- limits.runs = 6",
        "+ limits.runs = 8",
    ]
    assert await said("diff", "1", "2") == ["- limits.runs = 4", "+ limits.runs = 5"]

    assert await said("revert", "limits.runs") == ["limits.runs: applies at once"]
    assert await said("revert", "2") == ["agents.notes: applies at once", "limits.runs: applies at once"]
    assert "runs = 5   # mine" in site.file.read_text()
    assert 'schedule = "0 7 * * 1-5"' in site.file.read_text()
    assert await said("diff", "2") == []
    newest = (await site.hub.get("/v1/config/history?limit=3"))["changes"]
    assert {(one["generation"], one["key"], one["new"]) for one in newest} == {
        (7, "limits.runs", "5"),
        (7, "agents.notes.schedule", '"0 7 * * 1-5"'),
        (7, "agents.notes.priority", None),
    }
    refused = await site.command("config", "diff", "99")
    assert (refused.returncode, "expected generations from 1 to 7" in refused.stderr.decode()) == (2, True)


@pytest.mark.slow
async def test_removed_key_is_a_warning_at_the_start_and_in_doctor(
    site: Site,
) -> None:
    assert await site.hub.stop() == 0
    site.file.write_text(site.text.replace("runs = 4", "runs = 4\nusers = 5"))
    place = place_after(site.file.read_text(), "runs = 4\n")
    told = f"hub.toml:{place}: warning: limits.users: is no longer a setting: the hub always uses 1_000"
    await site.hub.start()
    await site.hub.says(told)
    issues = (await site.hub.get("/v1/issues"))["issues"]
    assert [told in one["explanation"] for one in issues if one["subject"] == "limits.users"] == [True]
    assert (await site.command("check", str(site.file))).returncode == 0
    refused = await site.command("config", "set", "limits.users=6")
    assert "limits.users is no longer a setting: the hub always uses 1_000" in refused.stderr.decode()
    assert (await site.command("config", "set", "limits.users=")).returncode == 0
    assert "users" not in site.file.read_text()


@pytest.mark.slow
async def test_changed_model_is_used_from_the_next_run(
    tmp_path: Path,
) -> None:
    files, titles = sentences(4)
    last, early = files.popitem(), Oracle(latency_s=0.2)
    late = Oracle()
    async with anyio.create_task_group() as tasks, scene(tmp_path, files, oracle=early) as play:
        base_url = await tasks.start(late.serve)
        settings = play.folder / "hub.toml"
        settings.write_text(settings.read_text().replace("[model]", "[model]\nconcurrency = 1"))
        await play.hub.post("/v1/reload")
        await play.device.start()
        run_id = await play.hub.start_run()
        await is_asked(early)

        edit = {"values": {"model.base_url": base_url, "model.timeout_s": 7.0}}
        done = (await play.hub.ask("PATCH", "/v1/config", json=edit)).json()
        assert (done["live"], done["restart"]) == (["model.timeout_s", "model.base_url"], [])
        run = await play.hub.ended(run_id)
        assert (run["outcome"], early.stats.calls, late.stats.calls) == ("success", 3, 0)

        write(tmp_path, dict([last]))
        run = await play.hub.ended(await play.hub.start_run())
        assert (run["outcome"], early.stats.calls, late.stats.calls) == ("success", 3, 1)
        are_there_once(play.items(), titles)
        tasks.cancel_scope.cancel()
