"""The device in TypeScript, in Node, against a real hub and the reference device."""
