"""The WSGI application that gunicorn's workers serve."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")

application = get_wsgi_application()
