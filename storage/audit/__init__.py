"""The audit log, and the activity log that people read."""
