"""The event bus of Open edX: what is written to it, and what is read from it."""
