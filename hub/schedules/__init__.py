"""Schedules such as cron expressions, from text to instants. Pure; independent of rows and runs."""
