"""Process of the hub: all objects are created here once, explicitly, from the settings.

``daemon`` opens the database and runs one event loop. ``hub`` assembles the parts: ``boot``, ``work``,
``model``, ``connector_accounts``, ``node_bus``, ``identity``, ``listeners``, ``resources``, ``issue_checks``,
and ``coordination``, which ``parts`` plugs in. ``hub.base.supervisor`` starts and stops their services;
``reload`` applies new settings to the running parts.
"""
