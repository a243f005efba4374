"""Pages of gradelog's own for course teams: courses, a gradebook, and one cell of it."""
