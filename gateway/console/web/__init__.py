"""The console: web pages for operators, on the admin listener."""
