"""The database itself: its contract, SQLite and PostgreSQL, migrations, backup and verification."""
