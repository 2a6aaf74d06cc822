"""How many upstream calls a cache saves on a day of dashboards: the traffic, the origin, the replay, the table."""
