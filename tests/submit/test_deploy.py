"""`serve deploy` of our application on a real cluster: the import path and the arguments of the files under serve/ reach our code."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[2]


def test_the_file_deploys_our_application_with_its_arguments(cluster: Any, tmp_path: Path, unused_port: int) -> None:
    """As far as the coder's constructor, which refuses a directory that is not there: no model is needed for that."""
    said = "/no/such/encoder"
    tree = yaml.safe_load((ROOT / "serve" / "laptop.yaml").read_text())
    tree["http_options"]["port"] = unused_port
    tree["applications"][0]["args"] = {"config": {"model": {"encoder": said}}}
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(tree))
    program = Path(sys.executable).with_name("serve")
    done = subprocess.run([program, "deploy", file, "-a", cluster.address], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    application: dict[str, Any] = {}
    for _ in range(600):
        answer = httpx.get(f"{cluster.address}/api/serve/applications/", headers={"Authorization": f"Bearer {cluster.token}"}, timeout=30)
        application = answer.json()["applications"].get("nosology", {})
        if application.get("status") == "DEPLOY_FAILED" and said in str(application):
            return
        time.sleep(0.1)
    raise AssertionError(application)
