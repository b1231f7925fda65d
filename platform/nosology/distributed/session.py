"""A Ray cluster for the time of a run: one started on this machine, or one that is there already.

What this module sets, and why: token authentication, for whoever reaches Ray's ports runs code; the loopback address, for
Ray else listens on all interfaces; a temporary folder below one that only this user enters, for Ray makes its own 0777;
nothing of the workers' output on the driver's terminal, for it could hold records; usage reports off; gRPC keepalive, for a
link that drops for good else hangs a job for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nosology
from nosology import storage
from nosology.config import ClusterConfig
from nosology.distributed.node import watched
from nosology.errors import ConfigError, InputError

SOURCE_ROOT = Path(nosology.__file__).resolve().parent.parent
_SOCKET_PATH_BYTES = 107  # of a Unix socket on Linux
_BELOW_TEMP_BYTES = 75  # /session_<time>_<microseconds>_<pid>/sockets/plasma_store and a margin
_LEAST_STORE_BYTES = 80 << 20
_MOST_STORE_BYTES = 2 << 30
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # Of Arrow's own pool, and of several arenas, a worker cannot give all back: it had 55 MB more, and grew (docs/bench.md)
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}


@dataclass(frozen=True, slots=True)
class Session:
    """A cluster that a run works on.

    Attributes:
        address: of its GCS, host:port.
        started: whether this run started it, and will stop it.
        folder: Ray's folder of the session on this machine (logs, sockets).
    """

    address: str
    started: bool
    folder: str


@contextlib.contextmanager
def session(config: ClusterConfig, *, dashboard: bool = False) -> Iterator[Session]:
    """Starts a cluster on this machine, or joins the one at `config.address` (or `RAY_ADDRESS`, inside a Ray job).

    A session within a session is the outer one. Only what was started here is stopped at the end.

    Args:
        config: the `cluster` section.
        dashboard: start Ray's dashboard and job server too; it listens on the loopback address.

    Raises:
        InputError: no cluster answers at the address, or it refuses the token.
        ConfigError: Ray could not be started on this machine.
        NodeLostError: the Ray that was started here died.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield _running(started=False)
        return
    address = config.address or os.environ.get("RAY_ADDRESS")
    with contextlib.ExitStack() as stack:
        if address:
            _join(address)
            stack.callback(ray.shutdown)
        else:
            folder = stack.enter_context(_temporary_folder())
            stack.enter_context(_loopback())
            _start(config, folder, dashboard)
            stack.enter_context(watched())
        _quiet()
        yield _running(started=not address)


def prepare_environment() -> None:
    """Sets the environment that every Ray process of this product has, also for `ray` commands started from here. What the user
    set stays. Makes a token if there is none: `~/.ray/auth_token`, readable by this user alone."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["RAY_AUTH_MODE"] == "token" and not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
        token_file = Path.home() / ".ray" / "auth_token"
        try:
            token_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_token(token_file)
        except OSError:  # a home that cannot be written: the token lives with the temporary files of this user
            token_file = _private_folder() / "auth_token"
            _create_token(token_file)
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(SOURCE_ROOT) not in paths:  # workers find the package where it is not installed
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SOURCE_ROOT), *filter(None, paths)])
    _have_ray_read_it()


def _have_ray_read_it() -> None:
    """Where Ray is imported already and idle, has it read the environment again. Its native code reads it once, at import: a process
    that imported Ray before would start a cluster that asks for a token, and then join it without one."""
    ray = sys.modules.get("ray")
    if ray is not None and not ray.is_initialized():
        ray._raylet.Config.initialize("")


def _create_token(file: Path) -> None:
    if file.exists():
        return
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
    try:
        os.link(temporary, file)  # two runs that start at once agree on one token
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _start(config: ClusterConfig, folder: Path, dashboard: bool) -> None:
    import psutil
    import ray

    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
    store = max(_LEAST_STORE_BYTES, min(_MOST_STORE_BYTES, int(psutil.virtual_memory().available * 0.2), int(shared * 0.8)))
    try:
        ray.init(
            address="local", num_cpus=config.num_cpus, object_store_memory=store, include_dashboard=dashboard,
            dashboard_host="127.0.0.1", _node_ip_address="127.0.0.1", _temp_dir=str(folder),
            _plasma_directory=None if shared * 0.8 > _LEAST_STORE_BYTES else str(folder),
            log_to_driver=False, logging_level=logging.ERROR, configure_logging=True,
        )  # fmt: skip
    except Exception as error:
        raise ConfigError(
            f"Ray could not be started on this machine ({type(error).__name__}). Run `nosology doctor`; Ray's own logs are below {folder}"
        ) from None


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Has the processes of a cluster on this machine listen on 127.0.0.1 only. Ray does so by itself where it knows of one machine
    only, which is what this variable says (its name is of the systems where that is the default)."""
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    held = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[name]
        if held is not None:
            os.environ[name] = held


def _join(address: str) -> None:
    import ray

    # Inside a Ray job the job's runtime environment brings the package; elsewhere this run brings its own version of it.
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    runtime = None if in_job else {"py_modules": [str(SOURCE_ROOT / "nosology")]}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime)
    except Exception as error:
        raise InputError(
            f"no Ray cluster could be joined ({type(error).__name__})", field="cluster.address",
            remedy="Check the address, that the cluster runs, and that RAY_AUTH_TOKEN_PATH names its token") from None  # fmt: skip


def _running(*, started: bool) -> Session:
    import ray

    context = ray.get_runtime_context()
    node = ray._private.worker._global_node
    return Session(context.gcs_address, started, node.get_session_dir_path() if node else "")


def _quiet() -> None:
    """Nothing of Ray's own on the terminal. Ray Data: no progress bars, no plans and no stack traces on the terminal. Its log files stay; they hold no rows,
    because nothing that is handed to it does (see `stages`)."""
    from ray._private import worker
    from ray.data import DataContext

    # Ray prints what its node reports (a lost worker, say) on this process's standard output, where the report of the verb belongs
    worker.print_to_stdstream = lambda *_, **__: None
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL + 1)


def _private_folder() -> Path:
    """This user's folder for temporary files, which no other user enters.

    Raises:
        ConfigError: somebody else made a folder of that name.
    """
    for parent in (os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp"):
        folder = Path(parent) / f"nosology-{os.getuid()}"
        if len(os.fsencode(folder)) + 1 + 8 + _BELOW_TEMP_BYTES <= _SOCKET_PATH_BYTES:
            break
    storage.make_folder(str(folder.parent))
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{folder} belongs to another user. Set RAY_TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A short-named folder for one cluster, removed at the end. Those whose run was killed are removed by the next run; each
    holds a lock as long as its run lives. With `NOSOLOGY_KEEP_RAY_LOGS` set, or after an error, it stays."""
    parent = _private_folder()
    if not os.environ.get("NOSOLOGY_KEEP_RAY_LOGS"):
        for old in parent.glob("r-*"):
            _remove_abandoned(old)
    folder = Path(tempfile.mkdtemp(prefix="r-", dir=parent))
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        if not os.environ.get("NOSOLOGY_KEEP_RAY_LOGS"):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, or another run removes it now
        return
