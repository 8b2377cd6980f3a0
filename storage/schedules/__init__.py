"""Schedules and what became of their fires: runs, or wake-ups of devices."""
