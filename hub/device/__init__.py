"""The other end of the wire: the reference device. Imports ``protocol`` and ``hub.text`` alone."""
