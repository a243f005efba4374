"""Grades: from the scores of problems to the letter of a course.

Source: the grades interface of the Open edX LMS. ``structure`` is a course as grading sees it,
``policy`` the rules of the course, ``scores`` what a problem and a subsection are worth to a
learner, ``graders`` the entries and averages of each assignment type, ``course_grade`` the end
of the sum. All of it is arithmetic: no clock, nothing is looked up. Every sum is written as a
loop, first to last: ``sum`` adds floats in another way from Python 3.12 on, and a replay must
show the numbers learners saw.
"""
