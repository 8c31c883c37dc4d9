"""What every template may know beyond its own context."""

from django.conf import settings
from django.http import HttpRequest

DEMO_PASSWORD = "quokka-demo"  # noqa: S105 (public on purpose; the people exist in demo mode only)  # nosec B105


def demo(request: HttpRequest) -> dict[str, object]:
    """Tell templates whether to show the demo's sign-in help."""
    return {"demo_mode": settings.DEMO, "demo_password": DEMO_PASSWORD if settings.DEMO else ""}
