"""Which foreign text reaches the expressions of each module, and the limits that hold before they do."""

from typing import Final, NamedTuple

from hub.docs.search import MAX_TEXT
from hub.extraction.prose_layout import _MAX_CHARS as SENTENCE_CHARS
from hub.text.quotations import _LINE_CHARS as LINE_CHARS


class Reach(NamedTuple):
    """Text that reaches an expression. *chars*: its length at most, where the callers hold to one."""

    text: str
    chars: int | None = None


_OURS: Final = "texts of this project"
_OPERATOR: Final = "the operator's own file or command"
_REQUEST: Final = "requests of operators, within the limit of a body"
_PEER: Final = "frames of devices and hubs, within the limit of a frame"
_FILES: Final = "shared files and mails"
_MODEL: Final = "answers of a model"
_SERVER: Final = "answers of a provider"

# By module, the longest name that fits; by module and name, in the second table.
MODULES: Final = {
    "protocol": Reach(_PEER),
    "storage": Reach(_OURS),
    "storage.agents.agent_snapshot": Reach("problems of settings, which name keys of requests"),
    "hub.accounts": Reach(_SERVER),
    "hub.agents": Reach(_REQUEST),
    "hub.api": Reach(_REQUEST),
    "hub.api.resources.handbook": Reach(_OURS),
    "hub.cli": Reach(_OPERATOR),
    "hub.connectors": Reach(_SERVER),
    "hub.connectors.mime": Reach("headers of mails"),
    "hub.base.dates": Reach(_REQUEST),
    "hub.base.mail_subjects": Reach(_FILES),
    "hub.base.name_lists": Reach(_OURS),
    "hub.device": Reach(_OPERATOR),
    "hub.device.proposals": Reach(_FILES),
    "hub.device.sinks": Reach("files of the owner, answers of their servers, and texts that agents read"),
    "hub.document": Reach(_FILES),
    "hub.docs": Reach(_OURS),
    "hub.extraction": Reach(_FILES),
    "hub.extraction.answers": Reach(_MODEL),
    "hub.extraction.completion": Reach(_MODEL),
    "hub.extraction.error_bodies": Reach("the first bytes of an answer without JSON", 8_192),
    "hub.extraction.endpoint_errors": Reach(_SERVER),
    "hub.extraction.judge": Reach("lines of files and mails, cut", 120),
    "hub.extraction.rate_limiter": Reach(_SERVER),
    "hub.extraction.dialect": Reach(_MODEL),
    "hub.text.patterns": Reach("the owner's expressions, at most 1,000 characters", 1_000),
    "hub.extraction.when": Reach("sentences of files and mails", SENTENCE_CHARS),
    "hub.extraction.sentence_ends": Reach("words before a dot, and after it", 80),
    "hub.extraction.wording": Reach("sentences of files and mails", SENTENCE_CHARS),
    "hub.extraction.wording.recognition": Reach(_FILES),
    "hub.text.item_text": Reach(_FILES),
    "hub.links": Reach("heads of requests, within the limit of a head"),
    "hub.base.log": Reach("all texts of the log"),
    "hub.openclaw": Reach("frames of gateways"),
    "hub.base.outbound": Reach(_REQUEST),
    "hub.base.printable": Reach("all texts that are shown"),
    "hub.runs": Reach(_FILES),
    "hub.schedules": Reach(_REQUEST),
    "hub.base.toml": Reach(_OPERATOR),
    "hub.settings": Reach(_OPERATOR),
    "hub.base.system": Reach("names of files of the owner"),
    "hub.text": Reach(_FILES),
    "hub.base.version": Reach("files that installers of Python programs write"),
}
# Attributes of a lexicon that are looked for in whole texts, not in sentences.
_WHOLE: Final = ("letters", "minutes", "tickets")


def reach_of(module: str, name: str) -> Reach | None:
    """Return the text that reaches an expression, or None for a module that is in no row."""
    if module == "hub.extraction.wording" and name.partition(".")[2] in _WHOLE:
        return MODULES["hub.extraction"]
    if module == "hub.text.quotations" and name.isdigit():  # of ``above_quotations``, which is cached
        return Reach("lines of mails, cut", LINE_CHARS)
    if (module, name) == ("hub.docs.search", "_WORD"):
        return Reach("words of a request, cut", MAX_TEXT)
    rows = [row for row in MODULES if module == row or module.startswith(f"{row}.")]
    return MODULES[max(rows, key=len)] if rows else None


def is_foreign(reach: Reach) -> bool:
    """Return True unless only texts of this project reach the expression."""
    return reach.text != _OURS
