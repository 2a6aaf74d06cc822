"""What is known about the service: its requests and its answers. Pure."""
