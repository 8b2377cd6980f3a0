"""Messages between the hub processes on one database, over the ``bus``."""
