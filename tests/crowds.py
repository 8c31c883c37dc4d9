"""Many people in one course, for drills."""

from django.db import connection

from accounts.models import Course, Enrollment, User
from tests import factories

CROWD = 10_000


def enroll_crowd(course: Course, size: int = CROWD) -> None:
    """Enrol `size` new students, without addresses that sign-in would need."""
    people = [factories.new_user(course.institution, f"crowd-{number}") for number in range(size)]
    User.objects.bulk_create(people, batch_size=2000)
    Enrollment.objects.bulk_create([factories.new_enrollment(person, course) for person in people], batch_size=2000)
    with connection.cursor() as cursor:
        # As autovacuum does within a minute; until then the planner takes the tables for empty.
        cursor.execute("ANALYZE accounts_user, accounts_enrollment")
