"""``gankit push``."""

from __future__ import annotations

import argparse

from gankit.sharing import push as upload


def push(arguments: argparse.Namespace) -> int:
    """Upload the generator of a run to the Hugging Face Hub."""
    repository = arguments.repository
    address = upload(
        arguments.run,
        repository,
        private=arguments.private,
        revision=arguments.revision,
        license=arguments.license,
        trust=arguments.trust,
    )
    end = "" if arguments.revision is None else f"@{arguments.revision}"
    print(f"the generator is in {address}; gankit.load('hf:{repository}{end}') loads it")
    return 0
