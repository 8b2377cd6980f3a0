"""Agents: their rows, configs, status, capabilities, checkpoints, locks and measurements."""
