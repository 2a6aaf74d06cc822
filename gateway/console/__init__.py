"""The admin listener's API."""
