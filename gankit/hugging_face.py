"""What goes wrong between here and the Hugging Face Hub, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from httpx import TransportError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gankit.errors import ConfigError, shortened

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def in_a_sentence(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn errors of huggingface_hub in the block into ConfigError."""
    try:
        yield
    except HFValidationError as error:
        raise ConfigError(
            f"{shortened(repository)} is no name of a repository; allowed is USER/NAME"
        ) from error
    except GatedRepoError as error:
        raise ConfigError(
            f"{repository} is gated: ask for access on its page, then {_LOGIN}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"there is no repository {repository}, or it is private: check the name, or {_LOGIN}"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{repository} has no revision {revision}") from error
    except RemoteEntryNotFoundError as error:
        raise ConfigError(
            f"{repository} lacks model.safetensors or config.json; expected what gankit push writes"
        ) from error
    except LocalTokenNotFoundError as error:
        raise ConfigError(f"{repository} needs a token: {_LOGIN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        advice = f": {_LOGIN}" if status in (401, 403) else ""
        raise ConfigError(f"the hub refused {repository} with status {status}{advice}") from error
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"{repository} was not downloaded before, and the hub cannot be reached"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ConfigError(
            f"the hub is not asked for {repository}: HF_HUB_OFFLINE is set"
        ) from error
    except (ConnectionError, TransportError) as error:
        raise ConfigError(f"the hub cannot be reached for {repository}: {error}") from error
