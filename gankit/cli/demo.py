"""``gankit demo``."""

from __future__ import annotations

import argparse
import threading

from gankit.cli.streams import say
from gankit.demo import interface, launch, open_model
from gankit.demo.opening import check_gradio, title_of
from gankit.runs.build import pick_device


def demo(arguments: argparse.Namespace) -> int:
    """Serve the page of a generator until Ctrl-C."""
    check_gradio()
    model = open_model(arguments.run, device=pick_device(arguments.device), trust=arguments.trust)
    page = interface(model, title=title_of(arguments.run))
    address = launch(
        page,
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        open_browser=not arguments.no_open,
        block=False,
    )
    say(f"the page is at {address}; Ctrl-C ends it")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:  # the way to end it
        return 0
    finally:
        page.close(verbose=False)
    return 0
