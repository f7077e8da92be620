"""The service's settings, with the URLs of floors.py beside its own."""

from fizzbuzz_site.settings import *  # noqa: F403 - all of them

ROOT_URLCONF = "benchmarks.floors"
