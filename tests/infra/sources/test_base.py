import pyarrow as pa

from infra.sources.base import KNOWN_COLUMNS, described
from irnet_core.schema import FORMATION_ENERGY


def test_known_columns_keep_their_unit():
    assert KNOWN_COLUMNS["formation_energy_ev_atom"] is FORMATION_ENERGY
    field = described(pa.field("formation_energy_ev_atom", pa.float64()), "mine")
    assert field.equals(FORMATION_ENERGY.field(), check_metadata=True)


def test_a_known_name_of_another_type_is_as_given():
    field = described(pa.field("formation_energy_ev_atom", pa.string()), "mine")
    assert field.metadata == {b"unit": b"as given", b"meaning": b"mine"}


def test_a_column_of_numbers_states_its_unit_by_name():
    field = described(pa.field("delta_e_ev_atom", pa.float64()), "mine")
    assert field.metadata == {b"unit": b"eV/atom", b"meaning": b"mine"}
