"""Reference device: the client end of the protocol.

``app`` is the device as one object. ``client`` keeps it connected: ``addresses`` decides where to,
``known_hubs`` knows the hubs, ``credentials`` proves who it is, ``connection`` carries frames. Calls of the
hub end in ``device_file``, the device's file, by ``rows``, ``proposals``, ``review_calls`` and
``text_files``; runs are read by ``run_reading`` from the folders in ``shared``. ``exclusion`` and
``secret_scan`` decide what stays; ``preview`` shows it, ``sending_log`` logs what went, and ``hub_receipts``
compares it with what the hub got. ``daemon`` runs a device by its ``settings``, at the times of
``conditions``, and ``autostart`` at every login. The owner decides on ``items`` in ``inbox`` and ``owner``,
in a browser by ``review``; ``verdicts`` are derived from rows, sent by ``reporting``. All state is in the
file (``schema``), except keys and known hubs.
"""
