"""CSRF protection without a cookie or token: accept the form only from a page of the same origin.

The form needs no account, so there is no session to abuse, and the origin that browsers send is enough. Without a
token, the page with the form is the same for everyone.
"""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


class CrossOrigin(PermissionDenied):
    def __init__(self) -> None:
        super().__init__(
            "Cross-site submission rejected. This request recorded nothing. Submit the number on this site's first "
            "page."
        )


def require_same_origin(request: HttpRequest) -> None:
    """Raise CrossOrigin if the request comes from a page of another origin, according to the browser's headers."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:  # sent by every browser since 2023, over https or to localhost
        ours = site in {"same-origin", "none"}  # none: the user reloads a page, for example
    else:  # without either header: not a browser, or one from before 2020
        ours = origin is None or origin == f"{request.scheme}://{request.get_host()}"
    if not ours:
        raise CrossOrigin
