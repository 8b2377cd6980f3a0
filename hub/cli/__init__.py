"""The command line, ``hub``.

``app`` names the commands and imports a command's module when it is used. Most commands are declared by
resources of the interface and carried out by ``declared``: one request by ``hub_client``, printed by
``formats`` and ``show``. The other modules are commands that do more than ask: serving, review at the device,
settings, evaluation, upkeep. ``errors`` ends a command with a message, a next step and an exit code.
"""
