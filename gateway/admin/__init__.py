"""For operators: the admin API, the console and the doctor."""
