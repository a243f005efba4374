"""The command line: one module a group of commands.

Modules import what is heavy inside their commands, so that ``--help`` and ``--version``
answer at once.
"""
