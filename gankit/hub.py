"""Models by name: those that gankit brings along, and repositories of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from gankit.errors import CheckpointError, ConfigError, MissingExtra, shortened
from gankit.model_folder import CARD, CONFIG, WEIGHTS

_FOLDER = Path(__file__).with_name("pretrained")
# As `sha256sum -c` reads them.
_SUMS = "SHA256SUMS"
_OWN, _HUGGING_FACE = "hub:", "hf:"


def resolve(path: str | os.PathLike[str]) -> Path:
    """The folder of ``"hub:NAME"`` or ``"hf:USER/NAME[@REVISION]"``; any other path as it is.

    The files of ``hub:NAME`` have been compared with their checksums, those of ``hf:`` have been
    downloaded, or were before.

    Raises:
        ConfigError: there is no such model or repository, or it cannot be reached or read.
        CheckpointError: a file of ``hub:NAME`` is absent or altered.
        MissingExtra: huggingface_hub is not installed.
    """
    text = os.fspath(path)
    if text.startswith(_OWN):
        return _own(text.removeprefix(_OWN))
    if text.startswith(_HUGGING_FACE):
        return _downloaded(text.removeprefix(_HUGGING_FACE))
    return Path(path)


def names() -> tuple[str, ...]:
    """The NAMEs of ``hub:NAME``, in alphabetical order."""
    return _names(_sums())


def _names(sums: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({name.partition("/")[0] for name in sums}))


def _own(name: str) -> Path:
    sums = _sums()
    known = _names(sums)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"there is no model {shortened(name)} in gankit; allowed are {', '.join(known)}{hint}"
        )
    for file in (WEIGHTS, CONFIG, CARD):
        place = _FOLDER / name / file
        try:
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
        except OSError as error:
            raise CheckpointError(
                f"{place} cannot be read ({error.strerror}): install gankit again"
            ) from error
        if digest != sums[f"{name}/{file}"]:
            raise CheckpointError(
                f"{place} is not the file that gankit came with, as its SHA-256 says: install "
                "gankit again"
            )
    return _FOLDER / name


def _sums() -> dict[str, str]:
    """The SHA-256 of each file, by ``NAME/FILE``."""
    try:
        lines = (_FOLDER / _SUMS).read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise CheckpointError(
            f"{_FOLDER / _SUMS} cannot be read ({error.strerror}): install gankit again"
        ) from error
    return {file: digest for digest, file in (line.split() for line in lines)}


def _downloaded(text: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    from gankit.hugging_face import in_a_sentence

    repository, at, revision = text.partition("@")
    if at and not revision:
        raise ConfigError(f"{_HUGGING_FACE}{text} names no revision behind the @")
    with in_a_sentence(repository, revision or None):
        config = hf_hub_download(repository, CONFIG, revision=revision or None)
        # The weights of the same commit, which is the folder's name.
        commit = Path(config).parent.name
        return Path(hf_hub_download(repository, WEIGHTS, revision=commit)).parent
