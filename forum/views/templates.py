"""Response templates: keeping them, and putting one into a reply."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, may_set_up, require_set_up, require_staff
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import ReplyForm, ResponseTemplateForm, template_ids
from forum.models import ResponseTemplate
from forum.responses import VARIABLES, unknown_variables
from forum.views.threads import thread_page


@login_required
@require_safe
def template_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the templates of the course by category."""
    member = get_member(request.user, slug)
    require_staff(member)
    context = {
        "member": member,
        "templates": list(ResponseTemplate.objects.visible_to(member)),
        "may_change": may_set_up(member, "templates"),
        "section": "course",
        "part": "templates",
    }
    return render(request, "forum/course/templates.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_template(request: SignedInRequest, slug: str, template_id: uuid.UUID | None = None) -> HttpResponse:
    """Add or change a template. Variables that don't exist are pointed out once, and may stay."""
    member = get_member(request.user, slug)
    require_staff(member)
    template = access.get_template(member, template_id) if template_id else None
    require_set_up(member, "templates")
    if request.method != "POST":
        return _form_page(request, member, template, ResponseTemplateForm(instance=template))
    form = ResponseTemplateForm(request.POST)
    if not form.is_valid():
        return _form_page(request, member, template, form, status=422)
    unknown = unknown_variables(form.cleaned_data["body"])
    if unknown and request.POST.get("keep") != " ".join(unknown):
        return _form_page(request, member, template, form, unknown=unknown, status=422)
    try:
        actions.save_template(by=member, template=template, **form.cleaned_data)
    except access.Refused as refusal:
        form.add_error("title", str(refusal))
        return _form_page(request, member, template, form, status=422)
    messages.success(request, "The template is saved.")
    return redirect("forum:templates", slug=slug)


def _form_page(
    request: SignedInRequest,
    member: Member,
    template: ResponseTemplate | None,
    form: ResponseTemplateForm,
    *,
    unknown: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    categories = ResponseTemplate.objects.visible_to(member).exclude(category="").order_by("category")
    context = {
        "member": member,
        "template": template,
        "form": form,
        "unknown": unknown or [],
        "keep": " ".join(unknown or []),
        "variables": VARIABLES.items(),
        "categories": categories.values_list("category", flat=True).distinct(),
        "section": "course",
        "part": "templates",
    }
    return render(request, "forum/course/template_form.html", context, status=status)


@login_required
@require_POST
def delete_template(request: SignedInRequest, slug: str, template_id: uuid.UUID) -> HttpResponse:
    """Take a template away."""
    member = get_member(request.user, slug)
    require_staff(member)
    actions.delete_template(by=member, template=access.get_template(member, template_id))
    messages.success(request, "The template is deleted. What was posted with it stays.")
    return redirect("forum:templates", slug=slug)


@login_required
@require_POST
def insert_template(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show the thread page with a template put after what stands in the reply box. Nothing is saved."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    chosen = template_ids(request.POST.get("insert", ""))
    template = ResponseTemplate.objects.visible_to(member).filter(pk=chosen[0]).first() if chosen else None
    typed = ReplyForm(request.POST, member=member)
    return thread_page(request, member, thread, typed=typed, inserted=template, status=200 if template else 422)
