"""Reference device: the client end of the protocol.

``app`` is the device as one object. ``client`` keeps it connected: ``addresses`` decides where to,
``credentials`` knows the hubs and proves who it is, ``connection`` carries frames. Calls of the hub end in
``inserts``, the device's file, by ``rows`` and ``proposals``; runs are read by ``run_reading`` from the
folders in ``shared``. ``exclusion`` and ``secret_scan`` decide what stays; ``preview`` shows it,
``sending_log`` has what went, and ``receipts`` compares it with what the hub got. ``keeping`` runs a device
by its settings file, at the times of ``conditions``, and ``autostart`` at every login. The owner decides in
``inbox`` and ``owner``, in a browser by ``review``; ``rows`` derives what is reported to the hub. All state is
in the device's file (``schema``), except keys and known hubs. ``settings`` has the tables of device.toml.
"""
