"""Schedules and the results of their fires: runs, or wakes of devices."""
