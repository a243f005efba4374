"""The grades interface: courses, gradebooks, overrides and what led to them."""
