"""`serve deploy` of our application on a real cluster: the import path and the arguments of the files under serve/ reach our code."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"config": {"model": {"encoder": "/no/such/encoder"}}}, "/no/such/encoder"),  # as far as the coder's constructor
        ({"config": {"model": {"encodr": "x"}}}, "encodr"),
        ({"configs": {}}, "args: known here are config and llm"),
    ],
)
def test_deploy(cluster: Any, tmp_path: Path, arguments: dict[str, Any], said: str, unused_port: int) -> None:
    tree = yaml.safe_load((ROOT / "serve" / "laptop.yaml").read_text())
    tree["http_options"]["port"] = unused_port
    tree["applications"][0]["args"] = arguments
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
