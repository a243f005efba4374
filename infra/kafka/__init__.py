"""A Kafka broker of our own, for development and tests."""
