"""The database of several nodes: PostgreSQL."""
