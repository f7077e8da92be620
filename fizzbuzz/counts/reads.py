"""Reads of the counts, shared by the requests that ask for the same at the same time.

Each result is a state of the log at or after the caller's arrival: it contains every write that was acknowledged
before.
"""

from __future__ import annotations

from core.shared_calls import SharedCalls
from fizzbuzz.counts import number_facts, ranking

top = SharedCalls(ranking.top)
count_of = SharedCalls(ranking.count_of)
facts = SharedCalls(number_facts.facts_of)
