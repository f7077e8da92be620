"""Whether gevent has patched the standard library, as in gunicorn's workers: threads are then greenlets."""

import sys

GEVENT = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("select")
