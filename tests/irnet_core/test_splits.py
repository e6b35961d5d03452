import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import DataError
from irnet_core.splits import among, given_split, random_split, shared_compositions

LABELS = np.array(["train", "val", "test", "train", "test"], dtype=object)


def test_given_split():
    split = given_split(LABELS, column="role")
    assert split.train.tolist() == [0, 3]
    assert split.validation.tolist() == [1]
    assert split.description == {"kind": "given", "column": "role", "test_rows_left_out": 2}


@pytest.mark.parametrize("wrong", ["Train", "", None, 1, "validation"])
def test_wrong_label(wrong):
    labels = LABELS.copy()
    labels[3] = wrong
    with pytest.raises(DataError) as caught:
        given_split(labels, column="role", source="a.csv")
    assert str(caught.value).startswith(f"a.csv, column 'role', row 3: {wrong!r} is no role: ")
    with pytest.raises(DataError, match="row 13: "):
        given_split(labels, column="role", rows=np.arange(10, 15))


@pytest.mark.parametrize("role", ["train", "val"])
def test_missing_role(role):
    labels = np.where(role == LABELS, "test", LABELS)
    message = f"^a.csv, column 'role': no row is marked '{role}': mark some, or leave out --split"
    with pytest.raises(DataError, match=message):
        given_split(labels, column="role", source="a.csv")


@given(
    st.lists(st.integers(0, 30).map(str), min_size=2).filter(lambda groups: len(set(groups)) > 1),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_random_split(groups, share, seed):
    groups = np.array(groups, dtype=object)
    split = random_split(groups, share=share, seed=seed)
    both = np.concatenate([split.train, split.validation])
    assert sorted(both.tolist()) == list(range(len(groups)))
    assert len(split.train)
    assert len(split.validation)
    assert len(shared_compositions(split, groups)) == 0
    again = random_split(groups, share=share, seed=seed)
    assert again.validation.tolist() == split.validation.tolist()


def test_random_split_holds_out_the_share_of_the_groups():
    groups = np.repeat(np.arange(1000).astype(str), 3)
    split = random_split(groups, share=0.1, seed=4)
    assert len(split.validation) == 300
    assert split.description == {"kind": "random", "by": "composition", "share": 0.1, "seed": 4}
    assert random_split(groups, seed=5).validation.tolist() != split.validation.tolist()
    # it follows the groups, not the order of the rows
    backwards = random_split(groups[::-1], share=0.1, seed=4)
    assert set(groups[::-1][backwards.validation]) == set(groups[split.validation])


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match="^a.csv: the rows hold 1 distinct compositions"):
        random_split(np.array(["NaCl", "NaCl"]), source="a.csv")


def test_shared_compositions():
    compositions = np.array(["ClNa", "O2Si", "MgO", "ClNa", "MgO"], dtype=object)
    split = given_split(LABELS, column="role")
    assert shared_compositions(split, compositions).tolist() == []
    compositions[1] = "ClNa"
    assert shared_compositions(split, compositions).tolist() == ["ClNa"]


TEXTS = st.lists(st.sampled_from(["Fe2O3", "FeO", "Fe", "", "LiF", "O"]))


@given(TEXTS, TEXTS)
def test_among(values, known):
    found = among(np.array(values, object), np.array(known, object))
    assert found.tolist() == [value in known for value in values]


def test_among_a_hundred_thousand():
    many = np.array([f"Fe{i}O" for i in range(100_000)], object)  # each with each: minutes
    assert among(many, many[::2]).sum() == 50_000
