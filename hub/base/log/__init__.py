"""Logging as events: a stable dotted name in the past tense, then fields.

Events go through Python's standard logging, so libraries need no adapter. Fields contain ids only: no
document text, token or personal address; any that slip in are redacted.
"""

from hub.base.log.channel import Channel, bind
from hub.base.log.files import LogFile
from hub.base.log.handler import Log, open_log
from hub.base.log.line_formats import learn_names
from hub.base.log.redaction import LAST_WORDS, foreign_words
from hub.base.log.ring import LogEntry, Ring

__all__ = [
    "LAST_WORDS",
    "Channel",
    "Log",
    "LogEntry",
    "LogFile",
    "Ring",
    "bind",
    "foreign_words",
    "learn_names",
    "open_log",
]
