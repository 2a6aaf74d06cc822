"""What is known about the service: its requests and how long its answers live. Pure."""
