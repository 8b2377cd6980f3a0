"""Process of the hub: all objects are created here once, explicitly, from the settings.

``daemon`` opens the database and runs one event loop. ``hub`` assembles the parts: ``boot``, ``work``,
``model_chain``, ``connector_accounts``, ``node_bus``, ``identity``, ``listeners``, ``resources``,
``issue_checks``, and ``coordination``, which ``parts`` plugs in. ``hub.base.supervisor`` starts and stops
their services; ``settings_application`` applies new settings to the running parts.
"""
