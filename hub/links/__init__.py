"""Connections of devices: their acceptance, authentication, sessions and links.

The way of a connection: ``connection_limits`` admits it, ``listener`` accepts the socket, ``transport``
checks the upgrade and carries messages. ``connection`` passes them through the ``protocol.session``; ``auth``
admits or refuses the hello (with ``device_keys`` and ``pairing``), and ``refusals`` keeps a sample of the
refused. An admitted device is in ``roster``: others find its ``DeviceLink`` there, make calls over it and
read its ``streams``. ``device_events`` sends what a device subscribed to. No state survives here;
``storage.devices`` has the credentials and connections.
"""
