"""The interfaces over HTTP: one Starlette application, one module an interface."""
