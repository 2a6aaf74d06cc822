"""The gateway and what one would use instead of it: how each is configured, started, awaited and stopped."""
