"""Contenders captured in one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP_CALLS = 3


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """``call`` recorded once; the result replays it. Inputs and outputs keep their addresses."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        result = call()

    def replay() -> object:
        graph.replay()
        return result

    return replay
