"""Builds read models in another database from the topics of the log."""
