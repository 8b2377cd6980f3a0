"""Agents: their rows, configs, status, capabilities, checkpoints, locks and measurements.

``agents`` has the rows and moves their states, ``agent_states`` reads these with their history,
``status_writes`` applies requested changes of them. ``agent_snapshot`` reads a whole set-up
at once. ``declaring`` applies a hub.toml by ``declared_agents``.
"""
