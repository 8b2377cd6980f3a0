"""Schedules, from text to instants. Pure; independent of rows and runs.

``trigger`` computes the fires of a cron expression (``cron``), an interval or an instant, also the missed
ones. ``hub.runs.scheduler`` asks it, ``storage.schedules`` keeps what was decided.
"""
