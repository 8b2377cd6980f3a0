"""Process of the hub: all objects are created here once, explicitly, from the settings.

``daemon`` opens the database and runs one event loop. ``hub`` assembles the parts: ``boot``,
``coordination``, ``work``, ``model``, ``nouns`` (with the checks for issues), ``listeners`` (with identity);
``hub.base.supervisor`` starts and stops their services. ``reload`` applies new settings to the running parts.
``evaluation`` and ``calibration`` read documents without a hub.
"""
