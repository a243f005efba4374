"""Webhooks: events of the log delivered in order to addresses that somebody has named."""
