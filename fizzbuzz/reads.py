"""Reads of the counts, shared by the requests that ask for the same at the same time.

Each result is a state of the log at or after the caller's arrival: it contains every write that was acknowledged
before.
"""

from __future__ import annotations

from fizzbuzz import number_facts, rollup
from fizzbuzz_site.shared_calls import SharedCalls

top = SharedCalls(rollup.top)
count_of = SharedCalls(rollup.count_of)
facts = SharedCalls(number_facts.facts_of)
