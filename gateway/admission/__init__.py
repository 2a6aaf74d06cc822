"""How much each caller may ask: limits that hold across the fleet, without asking Redis for each request."""
