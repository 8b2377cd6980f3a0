"""Runs and their work: claims, moves, units, items and their delivery, questions to models.

A run is queued and claimed by ``run_claims``, moved by ``run_moves`` and ``run_pauses``, read by ``runs``.
Its files or messages are ``units``; what a unit yields is planned at once by ``plans``, as ``items`` and
``calls``. ``item_verdicts`` keeps decisions, ``item_proposals`` those that others propose, ``agreement`` what
each device's store is known to hold, ``model_calls`` what was asked and paid.
"""
