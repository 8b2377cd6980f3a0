"""Rows: how they are kept, claimed and changed.

``store`` opens the database and runs each job in one transaction; ``kernel`` has the two databases behind it,
``schema`` their tables. A package per topic holds plain functions from a connection and values to rows; the
packages above (``hub``) decide when to call them. ``audit`` and ``changes`` record what happened.

Floors, lowest first; each imports only those below: ``change_triggers``; ``kernel`` and ``schema``; then
``audit``, ``changes``, ``executing_runs`` and ``leases``; the subjects ``devices``, ``connectors``,
``schedules``, ``agents``, ``coordination`` and ``runs``, of which none imports one to its right; ``effects``,
what touches several subjects in one transaction; ``store``.
"""
