"""stats-gateway: a caching reverse proxy in front of the figshare statistics service."""

__version__ = "0.1.0"
