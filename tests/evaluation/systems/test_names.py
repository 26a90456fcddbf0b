# SPDX-License-Identifier: Apache-2.0
"""Which systems are scored: every model in place of ``model``, and nothing that cannot work."""

from __future__ import annotations

import pytest

from msdet.errors import InputError
from msdet.evaluation.systems.names import AFTER, ALONE, DEFAULT, choose_systems

SEPARATES, DIRECTIONS = True, False


def test_one_model_is_scored_beside_every_baseline() -> None:
    found = choose_systems(None, {"model": SEPARATES})
    assert found == DEFAULT
    assert set(found) == {"model", *ALONE, *(f"model+{after}" for after in AFTER)}


def test_several_models_take_the_place_of_the_word() -> None:
    models = {"lbt": SEPARATES, "pit": SEPARATES}
    asked = ("model+mvdr", "srp_phat", "model", "lbt")
    assert choose_systems(asked, models) == ("lbt+mvdr", "pit+mvdr", "srp_phat", "lbt", "pit")


def test_what_works_on_voices_is_left_out_for_a_model_without() -> None:
    found = choose_systems(None, {"model": DIRECTIONS, "other": SEPARATES})
    assert "model" in found
    assert not any(name.startswith("model+") for name in found)
    with pytest.raises(InputError, match=r"model\+mvdr.*separated"):
        choose_systems(["model+mvdr"], {"model": DIRECTIONS})


@pytest.mark.parametrize("name", ["music2", "model+music", "+mvdr", "gone+mvdr", "srp_phat+mvdr"])
def test_an_unknown_name_is_told_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match=r"is none of unprocessed, srp_phat.*model") as caught:
        choose_systems([name], {"model": SEPARATES})
    assert repr(name) in str(caught.value)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        choose_systems([], {"model": SEPARATES})
