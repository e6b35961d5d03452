import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import TrainingError
from irnet_core.recipes import RECIPES, Recipe, recipe


def test_paper_recipe_is_the_published_one():
    # Jha et al., doi:10.1038/s41598-021-83193-1
    paper = recipe("paper")
    assert (paper.scale_inputs, paper.scale_target) == (False, False)
    assert (paper.learning_rate, paper.weight_decay, paper.schedule) == (1e-4, 0.0, "constant")
    assert (paper.batch(400_000), paper.patience, paper.averaging) == (32, 200, 0.0)
    assert (paper.gradient_clip, paper.precision) == (0.0, "fp32")
    assert paper.inputs == ("magpie",)


@given(st.sampled_from(sorted(RECIPES)), st.integers(2, 10**7))
def test_batches_and_epochs_stay_in_their_bounds(name, n_rows):
    chosen = recipe(name)
    batch = chosen.batch(n_rows)
    assert min(32, n_rows) <= batch <= min(chosen.batch_size, n_rows)
    assert n_rows // batch >= min(chosen.min_steps, n_rows // min(32, n_rows))
    assert chosen.min_epochs <= chosen.epochs(n_rows) <= chosen.max_epochs


def test_row_visits():
    modern = recipe("modern")
    rows = modern.row_visits // 40
    assert modern.min_epochs < 40 < modern.max_epochs
    assert modern.epochs(rows) == 40


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_card(name):
    fields = json.loads(json.dumps(dataclasses.asdict(recipe(name))))
    assert Recipe(**fields | {"inputs": tuple(fields["inputs"])}) == recipe(name)
    assert recipe(name).name == name


def test_with_epochs():
    chosen = recipe("modern").with_epochs(7)
    assert {chosen.epochs(n) for n in (2, 1000, 10**7)} == {7}
    assert dataclasses.replace(chosen, min_epochs=20, max_epochs=100) == recipe("modern")
    with pytest.raises(TrainingError, match="at least 1 epoch, not 0"):
        chosen.with_epochs(0)


def test_recipes_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe("paper").patience = 1


def test_unknown_recipe():
    with pytest.raises(TrainingError, match="recipe 'x' is not known: choose one of paper, modern"):
        recipe("x")
