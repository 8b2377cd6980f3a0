"""Files for systemd, as they are installed: three units and a group."""
