"""Reads of the counts, shared by concurrent requests for the same result.

Each result is read after the call began: it includes every write that was acknowledged before.
"""

from fizzbuzz.counts import number_facts, ranking
from fizzbuzz.shared_calls import SharedCalls

top = SharedCalls(ranking.top)
count_of = SharedCalls(ranking.count_of)
facts = SharedCalls(number_facts.facts_of)
