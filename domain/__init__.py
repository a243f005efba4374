"""What may happen, and what did. Pure Python: no SQL, no HTTP, no Kafka, no clock."""
