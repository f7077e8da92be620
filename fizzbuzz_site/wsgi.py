"""The WSGI application that gunicorn's workers serve."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.template import TemplateSyntaxError
from django.template.loader import get_template
from django.urls import get_resolver

from fizzbuzz_site.slow_clients import take_chunks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")

application = take_chunks(get_wsgi_application())
# Load now what requests need: a worker that can't load it must not become ready.
get_resolver().check()
for path in (settings.BASE_DIR / "templates").rglob("*.html"):
    try:
        get_template(str(path.relative_to(settings.BASE_DIR / "templates")))
    except TemplateSyntaxError as error:
        error.add_note(f"in {path}")
        raise
