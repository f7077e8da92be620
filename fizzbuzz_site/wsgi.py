"""WSGI application for gunicorn's workers."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.wsgi import get_wsgi_application
from django.template import TemplateSyntaxError
from django.template.loader import get_template
from django.urls import get_resolver

import fizzbuzz_site.serving.worker_metrics  # noqa: F401 - before anything creates a metric
from fizzbuzz_site.serving.gate import admit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")

from fizzbuzz.db.pool import release_connection  # it reads the settings

_handler = get_wsgi_application()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Handle a request, and release its connection before the body is sent, so that a slow reader does not hold it."""
    admit(environ)
    response = _handler(environ, start_response)
    release_connection()
    return response


# Load URLs, templates and static files' names now: a worker that can't load them must not become ready. The patterns
# exclude editors' and systems' own files, as collectstatic does.
get_resolver().check()
for path in (settings.BASE_DIR / "templates").rglob("[!.]*.html"):
    try:
        get_template(str(path.relative_to(settings.BASE_DIR / "templates")))
    except TemplateSyntaxError as error:
        error.add_note(f"in {path}")
        raise
for path in (settings.BASE_DIR / "static").glob("[!.]*.*[!~]"):
    try:
        staticfiles_storage.url(path.name)
    except ValueError as error:
        error.add_note("staticfiles/ is missing or outdated: run manage.py collectstatic --noinput")
        raise
