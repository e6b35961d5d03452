"""The table that networks begin with is what its sources say."""

from __future__ import annotations

import pytest

from irnet_core.element_properties import PATH


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_what_the_builder_writes() -> None:
    pytest.importorskip("mendeleev")
    from featurizers.build_element_properties import build

    assert PATH.read_bytes() == build()
