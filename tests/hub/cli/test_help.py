"""``hub help``: topics, pages, mistyped topics, and what it imports."""

import subprocess
import sys

import pytest

from hub import docs
from tests.hub.cli.conftest import Hub, ends


def test_the_topics_are_listed_with_a_line_each(hub: Hub) -> None:
    listed = hub("help").stdout
    for topic in docs.TOPICS:
        assert f"  {topic} " in listed
        assert docs.summary(topic) in listed
    assert max(map(len, listed.splitlines())) <= 120


def test_each_page_is_printed(hub: Hub) -> None:
    for topic in docs.TOPICS:
        assert hub("help", topic).stdout == docs.page(topic)


def test_every_page_of_the_folder_is_a_topic() -> None:
    assert {path.stem for path in docs.FOLDER.glob("*.md")} == {*docs.TOPICS, "README"}


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("setings", "did you mean 'settings'?"),
        ("xyzzy", "'hub help' lists the topics"),
        ("doctor", "hub doctor --help"),
        ("connectors", "hub connectors --help; the handbook uses it in: mailboxes, manifests"),
    ],
)
def test_a_mistyped_topic_is_a_usage_error_with_a_hint(hub: Hub, typed: str, hint: str) -> None:
    ends(hub("help", typed), 2, f"no page '{typed}'", hint)


def test_help_imports_no_web_framework() -> None:
    code = (
        "import sys, hub.cli.app\n"
        "try: hub.cli.app.main(['help', 'settings'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'starlette', 'uvicorn', 'pydantic'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# Settings")
    assert done.stderr.strip() == "[]"
