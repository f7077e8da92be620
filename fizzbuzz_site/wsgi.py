"""The WSGI application that gunicorn's workers serve."""

from __future__ import annotations

import os

from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")

application = get_wsgi_application()

# What the pool has taken back at the end of a request needs no look at the start of the next, and a cache keeps its
# connections. They took a twentieth of a submission's time.
request_started.disconnect(close_old_connections)
request_started.disconnect(reset_queries)
request_finished.disconnect(close_caches)
