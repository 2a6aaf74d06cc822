"""Who may ask: tenants, keys, credentials and the registry that holds them."""
