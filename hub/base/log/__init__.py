"""Logging as events: a stable dotted name in the past tense, then fields.

Events go through Python's standard logging, so libraries need no adapter. Fields contain ids only: no
document text, token or personal address; any that slip in are redacted.
"""

from hub.base.log.channel import Channel, bind
from hub.base.log.lines import LAST_WORDS, LogEntry, LogFile, Ring, foreign_words, learn_names
from hub.base.log.opening import Log, open_log

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
