"""What is new in a course, for feed readers (Atom, RFC 4287)."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.feedgenerator import Atom1Feed
from django.views.decorators.http import require_safe

from accounts.access import Member, get_feed_reader, get_member
from accounts.reaching import institution_of_feed
from forum.models import Thread, Visibility
from quokkaq.lib import tenancy
from quokkaq.lib.logs import unlogged

NEWEST = 30


@require_safe
@unlogged
def course_feed(request: HttpRequest, key: str, slug: str) -> HttpResponse:
    """List the newest threads of a course. The key in the address stands for the person; two people see two feeds.

    A feed reader may be somebody else's server: what is private to staff, or not shown to all yet, isn't in it.
    """
    with tenancy.scope(institution_of_feed(key)):
        return _course_feed(request, get_member(get_feed_reader(key), slug))


def _course_feed(request: HttpRequest, member: Member) -> HttpResponse:
    course = member.course
    feed = Atom1Feed(
        title=f"{course.code} {course.name}",
        link=request.build_absolute_uri(reverse("forum:list", args=[course.slug])),
        description="",
        feed_guid=f"urn:uuid:{course.pk}",
    )
    threads = Thread.objects.visible_to(member).filter(visibility=Visibility.COURSE, moderation="shown").listed()
    for thread in threads.order_by("-created_at", "-id")[:NEWEST]:
        thread.course = course
        feed.add_item(
            title=f"#{thread.number} {thread.title}",
            link=request.build_absolute_uri(thread.get_absolute_url()),
            description=thread.html(),
            unique_id=f"urn:uuid:{thread.pk}",
            author_name=thread.byline(member).name,
            pubdate=thread.created_at,
            updateddate=thread.edited_at or thread.created_at,
            categories=[name for _, name in thread.tag_pairs],
        )
    response = HttpResponse(feed.writeString("utf-8"), content_type=feed.content_type)
    response["Cache-Control"] = "private, max-age=300"
    return response
