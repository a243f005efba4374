"""The commands about people: who they are, where they learn, what they may do.

Each command says what shall be so; what is so already appends nothing. ``register_users`` and
``set_enrollments`` carry out many, a chunk of them in one append.
"""

from domain.learners.cohorting import Cohorts
from domain.learners.enrolling import Enrollments
from domain.learners.registering import Users


class Learners(Users, Enrollments, Cohorts):
    """Users, enrolments, roles and cohorts."""
