"""Transactions that touch several subjects: hub.toml, connections, fires, retention, erasure, clock steps.

``declaring`` applies a hub.toml, ``agent_changes`` the changes of agents over the API. ``sessions`` opens the
connections of devices. ``fire_decisions``, ``fire_runs`` and ``first_runs`` create runs for schedules.
``retention`` deletes what is old, ``user_data`` what is of a user.
"""
