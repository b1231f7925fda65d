"""A session in a process that imported Ray before anything set how Ray authenticates, as a user's own script may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nosology

SCRIPT = """
import ray  # first, and with no word on authentication
from ray._raylet import AuthenticationMode, get_authentication_mode
assert get_authentication_mode() != AuthenticationMode.TOKEN
from nosology.config import ClusterConfig
from nosology.distributed.session import session
with session(ClusterConfig(num_cpus=1)):
    assert get_authentication_mode() == AuthenticationMode.TOKEN
    assert ray.get(ray.remote(lambda: 3).remote()) == 3
print("worked")
"""


def test_session_works_where_ray_was_imported_before() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(nosology.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=180)
    assert done.stdout.strip() == "worked", done.stderr
