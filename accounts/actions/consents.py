"""What people agree to, row after row."""

from accounts.models import Consent, ConsentKind, User


def record_consent(*, by: User, kind: ConsentKind, version: str, is_given: bool) -> Consent:
    """Note that a person agreed to a wording (`version`), or took it back. Call it inside the action's transaction."""
    return Consent.objects.create(
        institution_id=by.institution_id, user=by, kind=kind, version=version, is_given=is_given
    )
