"""What this machine can do, what will not work, and how to mend it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nosology import storage
from nosology.config import Config, home
from nosology.errors import ConfigError, InputError, NosologyError

# Measured: `make demo` peaks below 6 GiB and writes below 3 GiB.
_MEMORY_GIB, _DISK_GIB, _SHM_GIB = 8, 5, 1
_GIB = 1 << 30
_PROBE_SECONDS = 20.0  # for a remote storage, all attempts together


@dataclass(frozen=True, slots=True)
class Finding:
    """One check.

    Attributes:
        check: what was looked at.
        state: good; limited (works, with the limit that `means` names); bad (will not work).
        found: what is there.
        means: what will not work, in plain words; None when good.
        remedy: how to mend it; None when good.
    """

    check: str
    state: Literal["good", "limited", "bad"]
    found: str
    means: str | None = None
    remedy: str | None = None


def examine(config: Config, storage_uri: str) -> list[Finding]:
    """Every check, in the order in which a person would mend things.

    Args:
        storage_uri: a folder, local or `s3://`, that runs are to be written to.
    """
    return [
        _python(),
        *_packages(),
        _compiler(),
        _cores(),
        _memory(),
        _shared_memory(),
        _disk(storage_uri),
        _gpu(),
        _encoder(config),
        _write("storage", storage_uri, "--out"),
        _home(),
        *_key_folder(config),
    ]


def _python() -> Finding:
    return Finding("python", "good", sys.version.split()[0])  # an older one does not install the package


def _packages() -> list[Finding]:
    findings = []
    pinned = _pinned()
    for name in ("ray", "torch", "deepspeed", "transformers", "peft", "presidio-analyzer", "pyarrow", "fsspec", "s3fs"):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(
                Finding(name, "bad", "absent", f"verbs that need {name} fail", f"pip install {name}, or run make in a checkout")
            )
            continue
        tested = pinned.get(name, found)
        if found.split("+")[0] == tested:
            findings.append(Finding(name, "good", found))
        else:
            findings.append(
                Finding(name, "limited", found, f"tested with {tested}; this version is untested", f"pip install {name}=={tested}")
            )
    return findings


def _pinned() -> dict[str, str]:
    lock = Path(__file__).parents[2] / "requirements.lock"
    if not lock.is_file():
        return {}
    return dict(line.split("==", 1) for line in lock.read_text().split() if "==" in line)


def _compiler() -> Finding:
    found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if found:
        return Finding("compiler", "good", found)
    return Finding(
        "compiler", "limited", "absent", "DeepSpeed cannot build its own optimizers", "install gcc (Debian: apt-get install gcc)"
    )


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores >= 2:
        return Finding("cores", "good", str(cores))
    return Finding("cores", "limited", str(cores), "two training workers share one core and slow down", "set train.workers=1")


def _memory() -> Finding:
    import psutil

    total = psutil.virtual_memory().total / _GIB
    if total >= _MEMORY_GIB - 0.5:  # a machine sold as 8 GiB shows a little less
        return Finding("memory", "good", f"{total:.1f} GiB")
    means = f"below the {_MEMORY_GIB} GiB that the demo is tested with: workers may be killed"
    return Finding("memory", "limited", f"{total:.1f} GiB", means, "set train.workers=1 and cluster.num_cpus=1")


def _shared_memory() -> Finding:
    if not Path("/dev/shm").is_dir():
        return Finding("shared memory", "good", "not used on this system")
    free = shutil.disk_usage("/dev/shm").free / _GIB
    if free >= _SHM_GIB:
        return Finding("shared memory", "good", f"{free:.1f} GiB")
    means = "Ray keeps its objects on disk instead: slower"
    return Finding("shared memory", "limited", f"{free:.1f} GiB", means, "give the container more (docker run --shm-size=2g)")


def _disk(uri: str) -> Finding:
    if not storage.is_local(uri):
        return Finding("disk", "good", "output is remote")
    folder = storage.local_path(uri).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    if free >= _DISK_GIB:
        return Finding("disk", "good", f"{free:.0f} GiB free")
    return Finding(
        "disk", "limited", f"{free:.1f} GiB free", f"below the {_DISK_GIB} GiB that the demo may need", "free space or write elsewhere"
    )


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return Finding("gpu", "good", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}")
    means = "models of 8B and more cannot be trained or served here; small ones run on the CPU"
    return Finding("gpu", "limited", "none", means, "join a cluster that has some: cluster.address")


def _encoder(config: Config) -> Finding:
    from nosology.engines.encoder import encoder_directory

    folder = config.model.encoder or str(home() / "encoder")
    try:
        encoder_directory(config.model.encoder)
    except NosologyError as error:
        return Finding("encoder", "bad", folder, f"coding, terms and the de-identification tagger fail: {error}", "make models")
    return Finding("encoder", "good", folder)


def _home() -> Finding:
    """Where encoder and search index lie. An index that is there is read only; without one it must be built there."""
    found = _write("home", str(home()), "NOSOLOGY_HOME")
    if found.state == "bad" and next(home().glob("index-*/"), None):
        return replace(found, state="limited", means=f"{found.means}; an index for another code set or encoder cannot be built")
    return found


def _key_folder(config: Config) -> list[Finding]:
    """The secret of de-identification, where a place for it is set: the file must be usable, or its folder must take a new one."""
    if not config.deid.key_file:
        return []
    file = Path(config.deid.key_file)
    if not file.is_file():
        return [_write("deid key", str(file.parent), "deid.key_file")]
    from nosology.deid.secret import load_secret

    try:
        load_secret(config.deid)
    except ConfigError as error:
        return [Finding("deid key", "bad", str(file), f"deidentify fails: {error}", "mend the file, or choose another: deid.key_file")]
    return [Finding("deid key", "good", str(file))]


def _write(check: str, uri: str, choose: str) -> Finding:
    """Whether files can be written at a place: a probe is written there, and removed.

    Args:
        choose: what else the user can do about it, beside mending the access.
    """
    if storage.is_local(uri):
        problem = _probe(uri)
    else:  # a server that takes the connection and never answers must not hold the doctor up
        problems: list[InputError | None] = []
        worker = threading.Thread(target=lambda: problems.append(_probe(uri)), daemon=True)
        worker.start()
        worker.join(_PROBE_SECONDS)
        problem = problems[0] if problems else InputError("the storage endpoint does not answer", remedy="Check its address")
    if problem is None:
        return Finding(check, "good", uri)
    mend = problem.remedy or "Give this user write access"
    return Finding(check, "bad", uri, f"nothing can be written there: {problem.rule}", f"{mend}; or choose another place: {choose}")


def _probe(uri: str) -> InputError | None:
    """Why nothing can be written below a folder; None when it can. Folders that the probe made are removed again."""
    made: list[Path] = []
    if storage.is_local(uri):
        above = storage.local_path(uri).absolute()
        while not above.exists():
            made.append(above)
            above = above.parent
    try:
        with storage.impatient(_PROBE_SECONDS / 4):
            storage.probe(uri)
            probe = storage.join(uri, f".doctor-{os.getpid()}")
            storage.create_if_absent(probe, b"doctor")
            storage.remove(probe)
    except InputError as error:
        return error
    except NosologyError as error:
        return InputError(str(error))
    except Exception as error:  # a client's own, which storage does not know; its class says enough
        return InputError(f"storage failed ({type(error).__name__})")
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
    return None


def summary(findings: list[Finding]) -> dict[str, Any]:
    """The report of `nosology doctor`."""
    return {
        "checks": len(findings),
        "bad": sum(f.state == "bad" for f in findings),
        "limited": sum(f.state == "limited" for f in findings),
        "findings": [{"check": f.check, "state": f.state, "found": f.found, "means": f.means, "remedy": f.remedy} for f in findings],
    }
