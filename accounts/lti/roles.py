"""From a platform's role URIs to a role here. What isn't known for sure gets the least.

Vocabulary: LTI 1.3 core specification, appendix A.2 (roles of a context).
"""

from collections.abc import Iterable

from accounts.models import Role

_CONTEXT = "http://purl.imsglobal.org/vocab/lis/v2/membership"
# Sub-roles lie under `membership/Instructor#…`; the short names are allowed for context roles only.
_INSTRUCTOR = {f"{_CONTEXT}#Instructor", "Instructor"}
_ASSISTANT = {
    f"{_CONTEXT}/Instructor#TeachingAssistant",
    f"{_CONTEXT}#TeachingAssistant",
    "TeachingAssistant",
}
_LEARNER = {f"{_CONTEXT}#Learner", f"{_CONTEXT}#Student", "Learner", "Student"}


def role_of(roles: Iterable[object]) -> tuple[Role, bool]:
    """Return the role here, and whether the platform named one we know.

    A teaching assistant of most platforms is said to be an instructor too: the sub-role is what they are. Roles in
    the institution or the system (administrator, faculty, …) say nothing about a course and give nothing.
    """
    given = {role for role in roles if isinstance(role, str)}
    if given & _ASSISTANT:
        return Role.TA, True
    if given & _INSTRUCTOR:
        return Role.INSTRUCTOR, True
    return Role.STUDENT, bool(given & _LEARNER)
