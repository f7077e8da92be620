"""The mutants of the counts match the code. `python -m tests.mutants` runs them."""

import pytest

from tests.mutants import MUTANTS, Mutant
from tests.service import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_matches_its_code(mutant: Mutant) -> None:
    file = mutant.file()

    compile((ROOT / file).read_text().replace(mutant.right, mutant.wrong), file, "exec")
