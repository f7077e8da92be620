"""Markers for several test modules."""

import pytest

commits = pytest.mark.django_db(transaction=True)
