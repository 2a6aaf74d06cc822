"""The gateway's own HTTP server: connections, heads, listeners and processes."""
