"""Browsable pages of the API."""

from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer

MAX_SHOWN_ITEMS = 100  # a page with 10,000 takes a second to render


class BrowsablePages(BrowsableAPIRenderer):
    def get_content(self, renderer: Any, data: Any, accepted_media_type: Any, renderer_context: Any) -> str:
        """Return the JSON to be shown; of a long list only its beginning."""
        if not isinstance(data, list) or len(data) <= MAX_SHOWN_ITEMS:
            return super().get_content(renderer, data, accepted_media_type, renderer_context)
        shown = super().get_content(renderer, data[:MAX_SHOWN_ITEMS], accepted_media_type, renderer_context)
        return f"{shown}\n\nThis page shows the first {MAX_SHOWN_ITEMS} of {len(data):,}; the JSON has all of them."

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """Return the form; after an error, with what was typed."""
        form = super().get_raw_data_form(data, view, method, request)
        if form and request.method == method and view.response.exception:
            form.initial["_content"] = request.body.decode(errors="replace")
        return form

    def show_form_for_method(self, view: Any, method: str, request: Any, obj: Any) -> bool:
        return method in view.allowed_methods  # there are no permissions to check
