"""Stored answers: the rules, the entry, the near cache and the shared store."""
