"""Files to text, the same on the device and on the hub. Imports nothing of ours."""
