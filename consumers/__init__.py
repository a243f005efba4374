"""A message in, a command out; and the relay from the log to other services."""
