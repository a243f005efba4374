"""Submissions and their scores: who handed in what, and what it was worth.

Source: edx-submissions. ``student_item`` holds one learner's attempts at one item,
``team_submission`` what a team handed in together, ``application`` the commands.
"""
