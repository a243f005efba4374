"""People: users with their roles, enrolments in courses, and cohorts.

``user`` holds one person with roles, programmes and cohort memberships, ``enrollment`` one
person in one course, ``cohort`` the cohorts of a course, ``application`` the commands.
"""
