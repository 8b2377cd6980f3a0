"""Agents: declarations, status, configuration, capabilities, locks, checkpoints and measurements.

Devices, people and hub.toml change agents by the same functions: ``writing`` creates, changes and removes
them, ``reconciliation`` follows hub.toml, and ``config_writing`` changes configs, which ``config_delivery``
sends to devices. ``heartbeats`` receives what devices report. ``capabilities``, ``checkpoints``, ``locks``
and ``measurements`` hold what their names say. ``schemas`` and ``prompts`` check templates; ``vocabularies``
reads and writes the status words of other systems. All state is in ``storage.agents``.
"""
