"""Agents: declarations, status, configuration, capabilities, locks, checkpoints and measurements."""
