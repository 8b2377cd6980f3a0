"""Logs as events: a stable, dotted name in the past tense, then fields.

Standard logging underneath, so that libraries need nothing new. No document text, no
token and no person's address goes into a field: ids only; what slips in is redacted.
"""

from hub.log.channel import Channel, bind
from hub.log.names import learn_names
from hub.log.opening import Log, open_log
from hub.log.ring import LogEntry, Ring

__all__ = ["Channel", "Log", "LogEntry", "Ring", "bind", "learn_names", "open_log"]
