"""Kafka behind a small port: what gradelog asks of a client, and the clients that do it."""
