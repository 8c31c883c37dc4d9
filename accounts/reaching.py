"""Which institution somebody or something belongs to, before anybody is signed in.

Row-level security shows nothing to nobody, so the first question goes to functions in the database that tell the
institution of one row, and nothing else of it. All that follows is asked within `tenancy.scope()` of that institution.
"""

from uuid import UUID

from quokkaq.lib import tenancy


def institution_of_email(email: str) -> UUID | None:
    """Return where somebody with this address has their account."""
    return tenancy.reach("email", email.strip().lower())


def institution_of_invitation(token_hash: str) -> UUID | None:
    """Return the institution that sent the invitation whose token has this hash."""
    return tenancy.reach("invitation", token_hash)


def institution_of_slug(slug: str) -> UUID | None:
    """Return the institution whose pages have this in their address."""
    return tenancy.reach("slug", slug)


def institution_of_lti_platform(issuer: str, client_id: str) -> UUID | None:
    """Return where a platform is registered. Without a client id, which platforms may leave out, it must be so once only."""
    return tenancy.reach("lti_platform", f"{issuer}\n{client_id}")


def institution_of_lti_state(state_hash: str) -> UUID | None:
    """Return the institution of the launch whose state has this hash."""
    return tenancy.reach("lti_state", state_hash)


def institution_of_lti_launch(launch_id: UUID) -> UUID | None:
    """Return the institution of a launch."""
    return tenancy.reach("lti_launch", str(launch_id))


def institution_of_person(key: str | UUID) -> UUID | None:
    """Return where a person's account is. `key` may come from a link, so it may be anything."""
    try:
        return tenancy.reach("person", str(UUID(str(key))))
    except ValueError:
        return None


def institution_of_address(address_id: int) -> UUID | None:
    """Return where the owner of an address that is to be confirmed belongs."""
    return tenancy.reach("address", str(address_id))


def institution_of_domain(domain: str) -> UUID | None:
    """Return whose addresses end like this."""
    return tenancy.reach("domain", domain.strip().lower())


def institution_of_provider(slug: str) -> UUID | None:
    """Return whose people sign in with this service, if they may now."""
    return tenancy.reach("provider", slug)


def institution_of_feed(key: str) -> UUID | None:
    """Return the institution of the person whose feeds have this key in their address."""
    return tenancy.reach("feed", key) if key else None
