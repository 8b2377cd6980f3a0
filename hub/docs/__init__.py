"""The handbook: a page of Markdown for each topic, shown by ``hub help`` and served at ``/docs``.

A page begins with a title, an empty line and one line that says what the page is for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Tutorial": ("first-run",),
    "How to": (
        *("agents", "tables", "schedules", "mailboxes", "calendars", "manifests", "webhooks"),
        *(
            "notify",
            "boards",
            "review",
            "why",
            "assistants",
            "dashboard",
            "models",
            "costs",
            "privacy",
            "export",
            "evaluate",
            "device",
            "places",
            "access",
            "service",
            "container",
            "cluster",
            "backup",
            "upgrade",
            "plugins",
            "process-connectors",
            "write-a-device",
        ),
    ),
    "Reference": (
        "settings",
        "cli",
        "rest",
        "errors",
        "scopes",
        "metrics",
        "log-events",
        "vocabularies",
        "glossary",
    ),
    "Explanation": ("exactly-once", "extraction", "dates", "security"),
    "Changing the hub": ("architecture", "modules", "decisions", "release", "proofs"),
}
TOPICS: Final = tuple(topic for topics in PARTS.values() for topic in topics)


class UnknownTopic(LookupError):
    """A topic that the handbook does not have.

    Attributes:
        hint: the topic that was probably meant, and how to list all topics.
    """

    def __init__(self, topic: str) -> None:
        from protocol.similar_names import did_you_mean  # the help of commands imports this module

        super().__init__(f"the handbook has no page {topic!r}")
        self.hint = did_you_mean(topic, TOPICS) or "'hub help' lists the topics"


def page(topic: str) -> str:
    """Return the page of *topic*.

    Raises:
        UnknownTopic: the handbook has no such page.
    """
    if topic not in TOPICS:
        raise UnknownTopic(topic)
    return (FOLDER / f"{topic}.md").read_text(encoding="utf-8")


def summary(topic: str) -> str:
    """Return the line that says what the page of *topic* is for."""
    return page(topic).split("\n", 3)[2]


def contents(folder: str = "") -> str:
    """Return the list of all pages as Markdown. The links begin with *folder*."""
    return "\n".join(_contents(folder)) + "\n"


def _contents(folder: str) -> Iterator[str]:
    yield "# Handbook of the device hub"
    yield ""
    yield "`hub help TOPIC` prints a page; a running hub serves the pages at `/docs`."
    for part, topics in PARTS.items():
        yield from ("", f"## {part}", "")
        yield from (f"- [{topic}]({folder}{topic}.md): {summary(topic)}" for topic in topics)
