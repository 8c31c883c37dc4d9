"""The database engine: PostgreSQL, told before each statement for whom it is."""
