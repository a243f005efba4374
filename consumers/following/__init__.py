"""Follows the topics of a log: partitions, their order, offsets and writing in one transaction."""
