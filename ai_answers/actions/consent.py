"""Whether a person lets what they write go to a model outside this server."""

from django.db import transaction
from django.utils import timezone

from accounts.actions import audit, record_consent
from accounts.models import ConsentKind, User
from ai_answers import querysets
from ai_answers.models import AIConsent


@transaction.atomic
def set_consent(*, by: User, is_given: bool) -> AIConsent:
    """Keep what a person decided for themselves. From the next request on it holds; what was sent stays in their log.

    The same again is nothing new, unless it is said of another wording.
    """
    consent, _ = AIConsent.objects.select_for_update().get_or_create(
        user=by, defaults={"institution_id": by.institution_id, "is_given": not is_given}
    )
    if consent.is_given != is_given or not AIConsent.objects.valid().filter(pk=consent.pk).exists():
        consent.is_given, consent.changed_at = is_given, timezone.now()
        consent.save(update_fields=["is_given", "changed_at"])
        record_consent(by=by, kind=ConsentKind.AI, version=querysets.CONSENT_VERSION, is_given=is_given)
        audit("ai_consent.given" if is_given else "ai_consent.withdrawn", consent, by=by)
    return consent
