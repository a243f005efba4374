"""Courses as they are graded: details, flags, modes, outline and grading policy.

``course`` holds the aggregate and its events, ``fields`` and ``blocks`` what may be
published, ``outline`` the tree that callers write, ``application`` the commands.
"""
