"""What a course lets the machine do."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import SignedInRequest, get_member, may_set_up, require_set_up, require_staff
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.confidence import MEANING
from ai_answers.forms import CourseAIForm


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def course_ai(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show to staff what the machine may do, and let instructors change it."""
    member = get_member(request.user, slug)
    require_staff(member)
    form = CourseAIForm.of(access.policy_of(member.course))
    if request.method == "POST":
        require_set_up(member, "ai")
        form = CourseAIForm(request.POST)
        if form.is_valid():
            actions.set_course_ai(by=member, fields=form.settings())
            messages.success(request, "Saved. It counts from the next question on.")
            return redirect("ai_answers:course-ai", slug=slug)
    context = {
        "member": member,
        "form": form,
        "policy": access.policy_of(member.course),
        "may_change": may_set_up(member, "ai"),
        "levels": [(level.label, meaning) for level, meaning in MEANING.items()],
        "section": "course",
        "part": "ai",
    }
    return render(request, "ai_answers/course_ai.html", context, status=422 if form.errors else 200)
