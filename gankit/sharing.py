"""Model folders, and repositories of the Hugging Face Hub made from them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from gankit._version import __version__
from gankit.atomic import atomic_write
from gankit.errors import ConfigError, MissingExtra
from gankit.exporting import description_of
from gankit.hub import resolve
from gankit.json_text import json_text
from gankit.model_card import check_license, model_card
from gankit.model_folder import CARD, CONFIG, PICTURE, WEIGHTS, is_exported
from gankit.runs.record import RunRecord, read_record
from gankit.saved import CHECKPOINT, SavedRun, load_run
from gankit.training.config import RunConfig
from gankit.translator import LoadedTranslator
from gankit.weights_file import HALVED, halved, write_weights


def write_model(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    source: str | None = None,
    license: str | None = None,
    trust: bool = False,
) -> Path:
    """Write the generator of a run as a folder that ``gankit.load`` and the Hugging Face Hub read.

    It holds ``model.safetensors`` (matrices and kernels in half precision), ``config.json``,
    ``README.md``, the model card, and ``sample.png``, the run's newest picture where it has one.
    Places of this machine do not go into it: of the data's path the last part stays.

    Args:
        run: folder of a run, or one of its checkpoints.
        out: the folder, new or empty.
        source: what the card tells to give to ``gankit.load``; None: the name of ``out``, without
            the folders above it.
        license: of the weights, an identifier such as ``"mit"``; None: the card says that none was
            given.
        trust: as for ``gankit.load``.

    Returns:
        ``out``.

    Raises:
        ConfigError: a folder that holds files, a license of another form, or weights that half
            precision cannot hold.
        CheckpointError: as ``gankit.load``.
        MissingExtra: safetensors is not installed.
    """
    check_license(license)
    if find_spec("safetensors") is None:
        raise MissingExtra("safetensors", "hub")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; expected a new or an empty folder")
    saved = load_run(run, trust=trust)
    record = _record(saved)
    config = without_places(saved.config)
    description = {
        **description_of(saved),
        "run": config.as_dict(),
        "gankit_version": __version__,
        HALVED: True,
    }
    picture = record.pictures[-1] if record is not None and record.pictures else None
    text = model_card(
        *(saved, record, config),
        source=out.resolve().name if source is None else source,
        license=license,
        picture=picture is not None,
    )
    files = {
        WEIGHTS: write_weights(halved(_weights(saved)), description, {"library": "gankit"}),
        CONFIG: f"{json_text(description, indent=1)}\n".encode(),
        CARD: text.encode(),
    }
    if picture is not None:
        files[PICTURE] = picture.read_bytes()
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        with atomic_write(out / name) as file:
            file.write(data)
    return out


def push(
    run: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str | None = None,
    trust: bool = False,
) -> str:
    """Upload the generator of a run to ``repository``, ``"USER/NAME"`` on the Hugging Face Hub.

    The repository is made where it is not there. A model folder is uploaded as it is.

    Args:
        run: folder of a run, one of its checkpoints, or a folder of ``write_model``.
        repository: ``USER/NAME``.
        private: whether a new repository is private.
        revision: the branch, which is made where it is not there; None: the main one.
        license: as for ``write_model``.
        trust: as for ``gankit.load``.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: the hub cannot be reached or refuses, or as ``write_model``.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    from gankit.hugging_face import in_a_sentence

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ConfigError(f"repository is {repository!r}; allowed is USER/NAME")
    made = resolve(run)
    with TemporaryDirectory() as temporary:
        if is_exported(made) and made.is_dir():
            load_run(made, trust=trust)  # what cannot be loaded helps nobody
            if license is not None:
                raise ConfigError(f"license is for runs; {run} has a card already, {made / CARD}")
        else:
            source = f"hf:{repository}" + ("" if revision is None else f"@{revision}")
            folder = Path(temporary, "model")
            made = write_model(run, folder, source=source, license=license, trust=trust)
        api = HfApi(library_name="gankit", library_version=__version__)
        with in_a_sentence(repository, revision):
            api.create_repo(repository, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repository, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository,
                folder_path=made,
                revision=revision,
                commit_message="Upload of a gankit generator",
                allow_patterns=[WEIGHTS, CONFIG, CARD, PICTURE],
            )
    return str(done.commit_url)


def without_places(config: RunConfig) -> RunConfig:
    """``config`` without folders of this machine, and without callbacks, which a user needs not."""
    data: Any = config.data
    if isinstance(data, dict):
        arguments = {key: _name(value) for key, value in (data.get("init_args") or {}).items()}
        data = {"class_path": _name(data["class_path"]), "init_args": arguments}
    else:
        data = _name(data)
    return config.updated(data=data, data_root=None, callbacks=())


def _name(value: Any) -> Any:
    """Of ``folder:/home/me/cats`` the text ``folder:cats``; what is no path as it is."""
    if not isinstance(value, str) or not re.search(r"[/\\]", value):
        return value
    kind, colon, rest = value.partition(":")
    is_kind = colon and not re.search(r"[/\\]", kind) and len(kind) > 1
    end = re.split(r"[/\\]", (rest if is_kind else value).rstrip("/\\"))[-1]
    return f"{kind}:{end}" if is_kind else end


def _record(saved: SavedRun) -> RunRecord | None:
    """What the run's folder says; None where the checkpoint is not that of its folder."""
    if saved.path.name != CHECKPOINT:
        return None
    return read_record(saved.path.parent)


def _weights(saved: SavedRun) -> Mapping[str, Tensor]:
    module = saved.module
    if not isinstance(module, LoadedTranslator):
        return module.network.state_dict()
    if len(module.networks) == 1:
        return next(iter(module.networks.values())).state_dict()
    keys = saved.description["inference"]
    return {
        f"{keys[direction]}.{name}": value
        for direction, network in module.networks.items()
        for name, value in network.state_dict().items()
    }
