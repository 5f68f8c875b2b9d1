from __future__ import annotations

import pickle

import pytest

from gankit import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.DataError, ValueError),
        (errors.CheckpointError, RuntimeError),
        (errors.MissingExtra, ImportError),
    ],
)
def test_every_error_is_ours_and_pythons(error, builtin):
    assert issubclass(error, errors.GankitError)
    assert issubclass(error, builtin)


def test_missing_extra_says_what_to_install_and_survives_pickling():
    error = pickle.loads(pickle.dumps(errors.MissingExtra("tqdm", "train")))
    assert str(error) == "tqdm is not installed: pip install 'gankit[train]'"
    assert (error.package, error.extra) == ("tqdm", "train")
