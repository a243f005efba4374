"""Settings, PostgreSQL, processes, the command line and the wiring that alone knows everybody."""
