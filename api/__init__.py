"""The public interfaces: in process and over HTTP."""
