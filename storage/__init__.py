"""Rows: how they are kept, claimed and changed.

``store`` opens the database and runs each job in one transaction; ``kernel`` has the two databases behind it,
``schema`` their tables. A package per topic holds plain functions from a connection and values to rows; the
packages above (``hub``) decide when to call them. ``audit`` and ``changes`` record what happened,
``retention`` deletes what is old.
"""
