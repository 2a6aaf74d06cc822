"""The way to the service: its client, and the queue in front of it."""
