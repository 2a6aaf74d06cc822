"""Stored answers: keys, entries, freshness, the near cache and the shared store."""
