"""Django admin for people and courses, and the scope every other admin page of ours keeps to."""

from accounts.admin import identity, joining, lti, people, records
from accounts.admin.base import (
    CourseScopedAdmin,
    OperatedAdmin,
    ReadOnlyAdmin,
    Row,
    ScopedRelatedFilter,
    WholeRowForm,
    reader_of,
)

__all__ = [
    "CourseScopedAdmin",
    "OperatedAdmin",
    "ReadOnlyAdmin",
    "Row",
    "ScopedRelatedFilter",
    "WholeRowForm",
    "identity",
    "joining",
    "lti",
    "people",
    "reader_of",
    "records",
]
