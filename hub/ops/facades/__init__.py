"""What an operator may ask of a running hub, a file for each noun; ``ops.facade`` has them together."""
