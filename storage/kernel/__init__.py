"""The database itself: its contract, SQLite and PostgreSQL, migrations, backup and verification.

``database`` is the contract that ``sqlite`` and ``postgres`` implement; ``columns`` declares columns and
reads rows into structs; ``migrate``, ``verify`` and ``backup`` keep the database whole.
"""
