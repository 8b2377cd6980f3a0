"""Who works: agents as declared and as stored."""
