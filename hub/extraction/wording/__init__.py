"""Words by which people ask, promise, plan and decide, in six languages, for the rules about prose."""
