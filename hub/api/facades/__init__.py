"""What an operator may ask of a running hub, a file for each noun; ``api.facade`` has them together."""
