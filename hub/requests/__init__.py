"""What a person at the desktop may ask of the hub: the methods of ``request``, one module a noun."""
