"""How often somebody may try to sign in, try join codes, and ask for mails to an address. The counts last when Redis is away."""

from django.conf import settings

from accounts.models import User
from quokkaq.lib.ratelimit import Limit, check, forget, hit

FAILURES_WITHIN = 15 * 60
# Mails anybody may have sent to one address, and from one place, in an hour.
MAILS_WITHIN = 3600
_mails_to = Limit("mail-to", 5, MAILS_WITHIN, durable=True)
_mails_from = Limit("mail-from", 60, MAILS_WITHIN, durable=True)
# Codes one person may try, and codes that don't work from one address, which a lecture hall shares.
_codes_by = Limit("join-code-person", 20, FAILURES_WITHIN, durable=True)
_wrong_codes_from = Limit("join-code-address", 100, FAILURES_WITHIN, durable=True)


def _by_account() -> Limit:
    return Limit("sign-in-account", settings.SIGN_IN_FAILURES_PER_ACCOUNT, FAILURES_WITHIN, durable=True)


def _by_address() -> Limit:
    return Limit("sign-in-address", settings.SIGN_IN_FAILURES_PER_ADDRESS, FAILURES_WITHIN, durable=True)


def sign_in_blocked(email: str, address: str) -> int:
    """Return for how many seconds nobody may try to sign in with this e-mail or from this address; 0: go on."""
    return max(check(_by_account(), _plain(email)), check(_by_address(), address))


def note_failed_sign_in(email: str, address: str) -> int:
    """Count a failed try, also of a second step; return for how many seconds there may be no more."""
    hit(_by_account(), _plain(email))
    hit(_by_address(), address)
    return sign_in_blocked(email, address)


def forget_failed_sign_ins(email: str) -> None:
    """The person proved who they are: their own mistakes count no more. Those of their address do."""
    forget(_by_account(), _plain(email))


def mail_blocked(email: str, address: str) -> int:
    """Count a mail somebody asks us to send; return for how many seconds they must wait instead, or 0."""
    wait = max(check(_mails_to, _plain(email)), check(_mails_from, address))
    if not wait:
        hit(_mails_to, _plain(email))
        hit(_mails_from, address)
    return wait


def join_code_blocked(user: User, address: str) -> int:
    """Count a code the person tries, whether it works or not; return for how many seconds they must wait instead, or 0."""
    return check(_wrong_codes_from, address) or hit(_codes_by, str(user.pk))


def note_wrong_join_code(address: str) -> None:
    """Count a code that doesn't work against where it was tried from."""
    hit(_wrong_codes_from, address)


def _plain(email: str) -> str:
    return email.strip().lower()
