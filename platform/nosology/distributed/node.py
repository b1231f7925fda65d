"""The processes of a cluster that this run started, watched while it works.

When Ray's node dies (for lack of memory, say) Ray's native code ends this process some seconds later, without a word and with whatever it
holds. So this process looks after them itself: the verb ends with an error that says what happened and what to do.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from nosology.errors import NosologyError

_WATCH_SECONDS, _GRACE_SECONDS, _UNWIND_SECONDS = 0.5, 2.0, 5.0


class NodeLostError(NosologyError):
    """Ray's own process on this machine died."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Ray's node process on this machine ({name}) died, perhaps for lack of memory. What was committed stands; run the same command"
            " again, it resumes"
        )


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Stops the cluster of this process at the end.

    Raises:
        NodeLostError: one of its processes died.
    """
    import ray
    from ray._private import ray_constants, worker

    node: Any = worker._global_node
    ending = False
    kinds = ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER
    processes = {kind: info.process for kind in kinds for info in node.all_processes[kind]}
    over, interrupted = threading.Event(), threading.Event()

    def lost() -> str | None:
        return next((kind for kind, process in processes.items() if process.poll() is not None), None)

    def watch() -> None:
        while not (name := lost()):
            if over.wait(_WATCH_SECONDS):
                return
        if over.wait(_GRACE_SECONDS):  # by an error of its own, or by the signal that ended those
            return
        interrupted.set()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not over.wait(_UNWIND_SECONDS):  # it waits for an answer that does not come
            print(f"nosology: {NodeLostError(name)}", file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=watch, name="node-watch", daemon=True).start()
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if interrupted.is_set():
            raise NodeLostError(lost() or "") from None
        ending = isinstance(error, SystemExit)  # what Ray makes of SIGTERM
        raise
    except Exception:
        if name := lost():
            raise NodeLostError(name) from None
        raise
    finally:
        over.set()
        if ending or lost():
            _leave(node)
        else:
            ray.shutdown()


def _leave(node: Any) -> None:
    """Ends Ray's processes without asking them: of one that is gone, or got the signal that this process got (schedulers send it to all),
    Ray would wait for an answer and abort, and so it would at the end of the interpreter, when all is said."""
    import ray

    node.kill_all_processes(check_alive=False, allow_graceful=False)
    atexit.unregister(ray.shutdown)
    atexit.register(os._exit, 1)
