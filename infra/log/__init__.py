"""The log in PostgreSQL: group commit, contiguous positions, claims, and its readers."""
