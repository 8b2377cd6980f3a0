"""Settings files in TOML, of a hub and of a device; and tables of hub.toml that several parts use.

``values`` has the types of fields; ``parsing`` reads a text. ``positions`` and ``origins`` know where a value
is written, and ``problems`` says what is wrong there, in the words of ``sentences``. ``schema`` derives the
tables and the JSON Schema from the models. ``limits``, ``listeners``, ``cluster`` and ``notify_targets`` are
tables; ``hub.settings.settings`` assembles all.
"""
