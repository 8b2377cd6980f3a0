"""A real OpenClaw gateway on this machine, a scripted model behind it, and what the hub does with both."""
