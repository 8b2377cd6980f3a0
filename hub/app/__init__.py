"""Process of the hub: all objects are created here once, explicitly, from the settings.

Each part has a module; ``hub.app.hub`` assembles them in order.
"""
