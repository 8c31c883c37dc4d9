"""How allauth's pages refuse a form: like all of ours."""

from typing import Any

from django.http import HttpResponse


class Refusing:
    """A page that answers 422 to a form it can't take, with what was typed still in it."""

    def form_invalid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)  # type: ignore[misc]
        response.status_code = 422
        return response
