"""Reference device: the client end of the protocol.

``app`` is the device as one object. ``client`` keeps it connected: ``addresses`` decides where to,
``credentials`` knows the hubs and proves who it is, ``connection`` carries frames. Calls of the hub end in
``inserts``, the device's file, by ``rows`` and ``proposals``; runs are read by ``run_reading`` from the
folders in ``shared``. The owner decides in ``inbox`` and ``owner``; ``rows`` derives what is reported to
the hub. All state is in the device's file (``schema``), except keys and known hubs.
"""
