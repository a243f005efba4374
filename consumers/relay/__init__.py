"""Publishes the log to Kafka: one relay at a time, each event in its order."""
