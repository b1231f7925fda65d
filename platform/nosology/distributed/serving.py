"""The Ray Serve application: `Ingress` (HTTP) → `Coder` → `Generator`, and the client that batch jobs call it with.

The coder asks the generator through its Serve handle, so each choice is made by the served model. The batch calls the coder
through `CoderClient`, from Ray Data actors of the same cluster.
"""

from __future__ import annotations

import functools
import logging
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import ray
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.context import _set_global_client
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from nosology.config import Config, ServeConfig
from nosology.distributed.isolation import KILLED
from nosology.distributed.replicas import (
    UNAVAILABLE,
    CoderReplica,
    Codes,
    Fault,
    GeneratorReplica,
    IngressReplica,
    LlmReplica,
    OpenCoder,
    OpenEngine,
    Row,
    ServiceError,
)
from nosology.distributed.session import session
from nosology.errors import ConfigError, InputError, ModelError, NosologyError, Reason, RecordError

if TYPE_CHECKING:
    from nosology.engines import Engine

APPLICATION = "nosology"  # with HTTP
BATCH = "nosology-batch-"  # and the id of the Ray job that it serves, so that batches and the service on one cluster stay apart
# WARNING, because Serve's INFO lines repeat the client's X-Request-ID; no access log, because paths come from clients.
_DEATHS, _RESTART_SECONDS = 2, 180.0  # replicas that one request may cost; time for one to load its models
_WRONG_USE: dict[str, type[NosologyError]] = {kind.__name__: kind for kind in (ConfigError, InputError, ModelError)}
LOGGING = {"log_level": "WARNING", "enable_access_log": False}


# ------------------------------------------------------------------------------------------------------ application


def open_engine(config: Config) -> Engine:
    """The engine of `model.artefact`, by `serve.engine`."""
    from nosology.engines import open_engine as open_

    return open_(cast("str", config.model.artefact), kind=config.serve.engine)


def _num_gpus(config: Config) -> int:
    """GPUs of a replica of the generator: one for vLLM, where this cluster has any. Ray hides GPUs that were not asked for.

    Raises:
        ConfigError: `serve.engine` is not installed here.
    """
    from nosology.engines import engine_of

    chosen = engine_of(config.serve.engine, cast("str", config.model.artefact))
    untyped: Any = ray
    return int(chosen == "vllm" and ray.is_initialized() and untyped.cluster_resources().get("GPU", 0) >= 1)


def open_coder(config: Config, engine: Engine | None) -> Codes:
    """The coder of the config, over rows as the batch has them."""
    from nosology.coding.coder import Coder
    from nosology.records import to_dict

    coder = Coder(config.coding, config.terminology, engine, encoder=config.model.encoder)
    return lambda rows: [to_dict(prediction) for prediction in coder.code(rows)]


def application(
    config: Config,
    *,
    coder: OpenCoder | None = None,
    engine: OpenEngine | None = None,
    llm: Mapping[str, str] | None = None,
    digest: Callable[[], str] | None = None,
) -> serve.Application:
    """The application graph.

    Args:
        config: the tree; without `model.artefact`, `engine` and `llm` the encoder heads code alone.
        coder: opens another coder than the config's.
        engine: opens another engine than the artefact's.
        llm: `application` and `model` of an LLM application of Ray Serve that generates in place of an engine of ours.
        digest: gives another digest than that of the artefact.
    """
    from nosology.quantization.manifest import artefact_digest

    rules = config.serve
    options: dict[str, Any] = {
        "num_replicas": rules.replicas,
        "max_queued_requests": rules.max_queued,
        # A model that cannot be loaded once cannot be loaded: fail at once, with its message.
        "max_constructor_retry_count": 1,
        "logging_config": LOGGING,
        # Half a core each by Ray's books, so that a batch job's actor fits beside them on two cores.
        "ray_actor_options": {"num_cpus": 0.5},
    }
    front = options | {"num_replicas": 1, "max_ongoing_requests": 2 * rules.max_queued, "max_queued_requests": -1}
    front["ray_actor_options"] = {"num_cpus": 0}
    generator = None
    engine_options = options
    if engine is None and config.model.artefact and not llm:
        engine = functools.partial(open_engine, config)
        engine_options = {**options, "ray_actor_options": {"num_cpus": 0.5, "num_gpus": _num_gpus(config)}}
    if llm:
        generator = serve.deployment(name="Generator", **front)(LlmReplica).bind(llm["application"], llm["model"], rules.model_name)
    elif engine:
        generator = serve.deployment(name="Generator", **engine_options)(GeneratorReplica).bind(
            engine,
            rules.model_name,
            digest or functools.partial(artefact_digest, cast("str", config.model.artefact)),
            config.cluster.stall_seconds,
        )
    codes = serve.deployment(name="Coder", **options)(CoderReplica).bind(
        coder or functools.partial(open_coder, config), generator, rules.request_timeout_seconds, config.cluster.stall_seconds
    )
    return serve.deployment(name="Ingress", **front)(serve.ingress()(IngressReplica)).bind(rules, codes, generator)


def build(arguments: Mapping[str, Any]) -> serve.Application:
    """The application for `serve run` and `serve deploy`; `arguments` holds the tree under `config` and, on GPUs, `llm`."""
    unknown = set(arguments) - {"config", "llm"}
    if unknown:
        raise ConfigError("args: known here are config and llm")
    try:
        config = Config.model_validate(arguments.get("config", {}))
    except ValidationError as error:
        raise ConfigError("args.config: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None
    return application(config, llm=arguments.get("llm"))


def start(config: Config, app: serve.Application | None = None, *, http: bool = True) -> str:
    """Deploys the application on the cluster that this process is connected to, and waits until its models are loaded.

    Args:
        config: the tree.
        app: another application than the config's.
        http: False serves handles alone (`CoderClient`) and opens no port.

    Returns:
        The URL of the service; an empty string without HTTP.

    Raises:
        ConfigError: the port is in use, or the host is not an address of this machine.
        NosologyError: a model could not be loaded.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    rules, name = config.serve, APPLICATION if http else batch_name()
    _set_global_client(None)  # type: ignore[no-untyped-call]  # Serve keeps its client, also of a cluster that this process has left since
    _remove_orphans()
    if http and not serve.status().applications:
        _shut_down()  # an idle Serve keeps the host and port that it was started with
        _check_port(rules.host, rules.port)
    serve.start(
        proxy_location="HeadOnly" if http else "Disabled",
        http_options={"host": rules.host, "port": rules.port},
        logging_config=LOGGING,
    )
    try:
        serve.run(app or application(config), name=name, route_prefix="/" if http else None, logging_config=LOGGING)
    except RuntimeError:
        failure = _failure(name)
        stop(name)
        raise failure from None
    if not http:
        return ""
    url = f"http://{f'[{rules.host}]' if ':' in rules.host else rules.host}:{rules.port}"
    _wait_until_ready(url, rules)
    return url


def stop(name: str = APPLICATION) -> None:
    """Takes an application down after the requests that it has taken. Serve itself stays, idle."""
    serve.delete(name)


def batch_name() -> str:
    """The name of this Ray job's own application; the same in its driver and in all its workers."""
    return BATCH + str(ray.get_runtime_context().get_job_id())


def _remove_orphans() -> None:
    """Applications of batches whose driver was killed."""
    jobs = ray._private.state.jobs()  # type: ignore[no-untyped-call]
    living = {job["JobID"] for job in jobs if not job["IsDead"]}
    for name in serve.status().applications:
        if name.startswith(BATCH) and name.removeprefix(BATCH) not in living:
            serve.delete(name)


def _shut_down() -> None:
    serve.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def served(config: Config, app: serve.Application | None = None) -> Iterator[CoderClient]:
    """An application of this job's own, without HTTP, for as long as a batch lasts, and a client for it."""
    start(config, app, http=False)
    try:
        yield CoderClient()
    finally:
        stop(batch_name())


def run(config: Config, app: serve.Application | None = None) -> dict[str, Any]:
    """`nosology serve`: starts or joins a cluster, serves until SIGINT or SIGTERM, and stops cleanly.

    Prints one line when ready, to stderr, so that stdout keeps to the report.

    Returns:
        `url`, `uptime_seconds` and the `signal` that ended it.
    """
    received: list[int] = []
    ended = threading.Event()

    def note(number: int, _: object) -> None:
        received.append(number)
        ended.set()

    started = time.monotonic()
    if not config.cluster.address:
        _check_port(config.serve.host, config.serve.port)  # before a cluster is started for nothing
    with session(config.cluster) as cluster:
        # Ray sets its own SIGTERM handler when it starts, so ours comes after it.
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            url = start(config, app)
            print(f"nosology serves at {url} (POST /v1/code, /v1/chat/completions); SIGINT or SIGTERM ends it", file=sys.stderr, flush=True)
            while not ended.wait(1.0):  # a timed wait lets Python run the signal handler
                pass
            stop()
            if not cluster.started and not serve.status().applications:
                _shut_down()  # somebody else's cluster goes on without our port
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return {"url": url, "uptime_seconds": round(time.monotonic() - started, 1), "signal": signal.Signals(received[0]).name}


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"serve.host {host}, serve.port {port}: {error.strerror}; free the port or choose another with serve.port=…"
            ) from None


def _wait_until_ready(url: str, rules: ServeConfig) -> None:
    """The replicas are up when this is called; the ingress still has to hear from them."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=10):
                return
        except urllib.error.HTTPError as answer:
            if answer.code != 503:
                break
        except OSError:  # refused: the proxy that runs here listens elsewhere
            break
        time.sleep(0.1)
    raise ConfigError(f"serve.port: this cluster serves on another port than {rules.port}; give that one, or stop its service")


def _failure(name: str) -> NosologyError:
    """Why the application did not start: the last line of what its replica's constructor said, which names models and rules."""
    what = "the service did not start"
    found = serve.status().applications.get(name)
    for deployment in (found.deployments if found else {}).values():
        lines = [line for line in deployment.message.splitlines() if line.strip()]
        if deployment.status in ("DEPLOY_FAILED", "UNHEALTHY") and lines:
            kind, _, text = lines[-1].partition(": ")
            own = _WRONG_USE.get(kind.removeprefix("nosology.errors."))
            return own(f"{what}: {text}") if own else NosologyError(f"{what}: {lines[-1]}")
    return NosologyError(what)


# ----------------------------------------------------------------------------------------------------------- client


class CoderClient:
    """Codes rows through the `Coder` deployment: a plain picklable callable for Ray Data actors of the same cluster.

    A replica that dies in the middle of a request is asked again, for coding changes nothing. When a second one dies over the same
    rows and the service is there again afterwards, it is the rows that end it: the caller halves them, and the last one is a dead letter.

    Args:
        timeout_seconds: for one answer.
        attempts: how often a request is sent in all.
        application: its name; None is that of `served` in the same Ray job.
    """

    def __init__(self, timeout_seconds: float = 1200.0, attempts: int = 6, application: str | None = None) -> None:
        self._timeout_seconds, self._attempts, self._application = timeout_seconds, attempts, application
        self._handle: DeploymentHandle[Any] | None = None

    def __getstate__(self) -> tuple[float, int, str | None]:
        return self._timeout_seconds, self._attempts, self._application

    def __setstate__(self, state: tuple[float, int, str | None]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Predictions of the rows, in their order.

        Raises:
            RecordError: a row is at fault; which one is known when it is alone.
            ServiceError: the service did not answer; no row is at fault.
        """
        deaths = 0
        for attempt in range(self._attempts):
            if self._handle is None:
                self._handle = serve.get_deployment_handle("Coder", self._application or batch_name())
            try:
                value = self._handle.code.remote(rows).result(timeout_s=self._timeout_seconds)
            except (*UNAVAILABLE, BackPressureError, TimeoutError) as error:
                value, self._handle = Fault(type(error).__name__, of_service=True), None
                deaths += isinstance(error, RayActorError)
            if not isinstance(value, Fault):
                return cast("list[Row]", value)
            if not value.of_service:
                reason = value.reason or Reason("internal_error", None, value.error)
                raise RecordError(reason.code, reason.field, reason.rule)
            if deaths == _DEATHS and self._answers():
                raise RecordError(KILLED.code, None, KILLED.rule)
            if attempt + 1 < self._attempts:
                time.sleep(min(0.25 * 2**attempt, 8.0))
        raise ServiceError(f"the coder did not answer, {self._attempts} times: {value.error}")

    def _answers(self) -> bool:
        """Whether the service is there, once its replicas are up again."""
        handle = serve.get_deployment_handle("Coder", self._application or batch_name())
        try:
            handle.about.remote().result(timeout_s=_RESTART_SECONDS)
        except (*UNAVAILABLE, BackPressureError, TimeoutError):
            return False
        return True
