"""Measurement of agents without a hub: ``hub eval``, gold files, and the calibration of chunks.

``command`` is the command. ``evaluation`` reads the documents of a ``gold`` file or folder, and
``comparison`` compares two evaluations. ``calibration`` finds the size of chunks for a model, by the
``miss_rate`` of its answers, on documents of its user or ``planted`` ones.
"""
