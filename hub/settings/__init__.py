"""Settings file hub.toml: its tables, and how it is read, checked, edited and reloaded.

The way of a text: ``reading.check_text`` parses it, fills the models of ``settings`` (whose tables are in
modules such as ``agent_settings``), and adds the ``settings_checks``; ``overrides`` replace values.
``hub.base.toml`` knows the line of each key and words each problem. ``reading`` also opens the file at the
start, with the last good one as a fallback. ``reload`` is the only way to change the settings of a running
hub; ``edits`` writes single keys and spells what changed, ``reading`` selects what all nodes share.
``declared`` converts agents, gateways and connectors to the rows of ``storage.agents.declared_agents``.
"""
