"""Django's test client in front of which the gate stands, as in the service."""

from typing import Any
from urllib.parse import urlencode

from django.test import Client

from fizzbuzz_site.serving.gate import FORM, admit


class GatedClient(Client):
    """Test client behind the gate. It posts forms urlencoded, as browsers do."""

    def post(self, path: str, data: Any = None, content_type: str = FORM, **more: Any) -> Any:  # type: ignore[override]
        if content_type == FORM and isinstance(data, dict):
            data = urlencode(data, doseq=True)
        return super().post(path, data, content_type, **more)

    def request(self, **request: Any) -> Any:
        admit(request)
        return super().request(**request)
