"""The names-and-roles service (NRPS 2.0): who is in a course on a platform."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from pylti1p3.exception import LtiException

from accounts.lti.http import PlatformUnreachable, fetch
from accounts.lti.keys import KeyLost
from accounts.lti.protocol import connector, origin, usable_url
from accounts.lti.roles import role_of
from accounts.models import LtiContext, LtiKey

SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
ACCEPT = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
MAX_PAGES = 400
MAX_PEOPLE = 10_000


@dataclass
class Members:
    """People as plain data (they are kept as JSON), and why some couldn't be read."""

    people: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[dict[str, Any]] = field(default_factory=list)


def fetch_members(context: LtiContext, key: LtiKey, *, progress: Callable[[int], None]) -> Members:
    """Fetch every page. Raises `PlatformUnreachable`: a part of a list would look like people who left."""
    platform = context.deployment.platform
    try:
        token = connector(platform, key).get_access_token([SCOPE])
    except (LtiException, KeyLost, KeyError, TypeError, AttributeError):
        raise PlatformUnreachable("token") from None
    headers = {"Authorization": f"Bearer {token}", "Accept": ACCEPT}
    found, seen = Members(), set[str]()
    url, pages, number = context.memberships_url, set[str](), 0
    while url:
        # The token goes to the service's own host and nowhere else.
        if not usable_url(url) or origin(url) != origin(context.memberships_url):
            raise PlatformUnreachable("next_page")
        if url in pages or len(pages) >= MAX_PAGES:
            raise PlatformUnreachable("endless")
        pages.add(url)
        reply = fetch("GET", url, headers=headers)
        body = reply.json() if reply.ok else None
        if not isinstance(body, dict) or not isinstance(body.get("members"), list):
            raise PlatformUnreachable(f"status_{reply.status_code}" if not reply.ok else "malformed")
        for row in body["members"]:
            number += 1
            if number > MAX_PEOPLE:
                raise PlatformUnreachable("too_many")
            read_member(row, number, seen, found)
        progress(number)
        url = reply.next_url
    return found


def read_member(row: object, number: int, seen: set[str], found: Members) -> None:
    """Add one member to `found`, or why it can't be read."""

    def refuse(reason: str) -> None:
        found.unreadable.append({"number": number, "reason": reason})

    if not isinstance(row, dict):
        return refuse("It isn’t a person.")
    sub, roles, email = row.get("user_id"), row.get("roles"), row.get("email")
    if not isinstance(sub, str) or not 0 < len(sub) <= 255 or "\x00" in sub:
        return refuse("It has no user ID.")
    if sub in seen:
        return refuse("This person stands in the list twice.")
    if not isinstance(roles, list):
        return refuse("It has no roles.")
    email = email.strip().lower() if isinstance(email, str) else ""
    if email:
        try:
            validate_email(email)
        except ValidationError:
            return refuse("Its e-mail address isn’t one.")
        if len(email) > 254:
            return refuse("Its e-mail address is too long.")
    parts = [row.get("name")] if row.get("name") else [row.get("given_name"), row.get("family_name")]
    name = " ".join(" ".join(part for part in parts if isinstance(part, str)).replace("\x00", "").split())[:80]
    seen.add(sub)
    role, known = role_of(roles)
    found.people.append({
        "sub": sub, "email": email, "name": name.strip() or "Somebody", "role": str(role), "role_known": known,
        "active": row.get("status", "Active") == "Active",
    })  # fmt: skip
    return None
