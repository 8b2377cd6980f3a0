"""Agents: their rows, configs, status, capabilities, checkpoints, locks and measurements.

``agents`` has the rows, ``state_moves`` moves their states, ``agent_states`` reads these,
``heartbeat_states`` writes what heartbeats report. ``agent_snapshot`` reads a whole set-up at once.
``declared_agents`` makes the rows match a hub.toml.
"""
