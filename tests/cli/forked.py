"""Runs gankit commands in forks of one process, and ends some of them with SIGKILL.

Each line of stdin is ``{"argv": [...], "seconds": s}`` or ``{"argv": [...], "write": n, "at": w}``:
kill after s seconds, or in the n-th write of a checkpoint at "bytes" (half of them are written),
"fsync" or "rename" (it is done). The answer is the line of the child's exit status as a shell has
it, minus the signal's number if a signal ended it, and the seconds it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any


def kill_myself(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(n: int, at: str) -> None:
    """Die in the ``n``-th write of a checkpoint."""
    from gankit.training import checkpointing

    save, calls = checkpointing.save_checkpoint, [0]

    def counted(path: Any, state: Any) -> None:
        calls[0] += 1
        if calls[0] == n:
            if at == "bytes":
                folder = os.path.dirname(path)
                name = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.tmp")
                with open(name, "wb") as file:
                    file.write(b"PK\x03\x04" + bytes(1000))
                    file.flush()
                    kill_myself()
            elif at == "fsync":
                os.fsync = kill_myself
            else:
                real = os.replace
                os.replace = lambda *names: (real(*names), kill_myself())[0]  # type: ignore
        save(path, state)

    checkpointing.save_checkpoint = counted


def serve() -> None:
    import matplotlib.figure  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch._dynamo  # noqa: F401 - the first optimizer would import it, in each child
    import yaml  # noqa: F401

    from gankit.cli import main
    from gankit.runs import build  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            if "write" in request:
                arrange(request["write"], request["at"])
            os._exit(main(request["argv"]))
        if "seconds" in request:
            timer = threading.Timer(request["seconds"], os.kill, (pid, signal.SIGKILL))
            timer.start()
        _, status = os.waitpid(pid, 0)
        if "seconds" in request:
            timer.cancel()
            timer.join()
        print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    serve()
