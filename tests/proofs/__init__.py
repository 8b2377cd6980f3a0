"""Programs that measure what is promised on a real hub, or over inputs that are drawn from a seed."""
