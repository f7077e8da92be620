"""Protection of a form that needs no account: it counts only when one of our own pages sends it.

There is no session to abuse, so nothing has to be secret: the browser's own word on where a request comes from is
enough. It needs no cookie and no token, and so the page with the form is the same for everyone.
"""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


class CrossOrigin(PermissionDenied):
    def __init__(self) -> None:
        super().__init__(
            "This form was sent by a page of another site. Nothing was recorded. Go to the first page, and submit the "
            "number there."
        )


def require_same_origin(request: HttpRequest) -> None:
    """Raise CrossOrigin if a browser says that a page of another origin made it send this request."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:  # sent by every browser since 2023, over https and to localhost
        ours = site in {"same-origin", "none"}  # none: the user reloads a page, for example
    else:  # neither header: no browser, or one from before 2020
        ours = origin is None or origin == f"{request.scheme}://{request.get_host()}"
    if not ours:
        raise CrossOrigin
