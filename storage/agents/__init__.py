"""Agents: their rows, configs, status, capabilities, checkpoints, locks and measurements.

``agents`` reads rows, ``agent_states`` their states, ``agent_moves`` and ``status_writes`` change these,
``agent_snapshot`` reads a whole set-up at once. ``declaring`` applies a hub.toml by ``declared_agents``.
"""
