"""Checks behind ``hub doctor``, ``hub status`` and Home: each examines facts, and returns findings.

``issues`` is the registry: it runs all checks in rounds, keeps the start of each issue, and is the one list
that every view shows. A topic of checks is a module: ``machine_and_load``, ``records``, ``integrity``,
``backups``, ``database_watch``, ``access_checks`` (with the settings), ``work``, ``external``.
``hub.app.issue_checks`` registers them with the facts that they examine.
"""
