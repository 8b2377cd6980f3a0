"""Reference device: the client end of the protocol. Imports ``protocol`` and ``hub.text`` only."""
