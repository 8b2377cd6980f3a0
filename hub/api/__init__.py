"""What operators touch: settings, their HTTP listener."""
