"""What systemd is told about the hub: three units and a group, as they are installed."""
