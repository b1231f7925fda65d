"""The rules of the house, read from the source: one direction, Ray at the edge, names, heavy imports deferred, YAML that parses."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from nosology.config import ClusterConfig, load

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "platform" / "nosology"
ROOMS = {"readers", "deid", "curation", "terminology", "tasks", "training", "quantization", "engines", "coding", "evaluation"}
LEVEL = {
    **dict.fromkeys(("errors", "records"), 0),
    **dict.fromkeys(("storage", "storage_errors", "streams", "config", "runs", "retries"), 1),
    **dict.fromkeys(ROOMS, 2),
    "distributed": 3,
    **dict.fromkeys(("cli", "console", "verbs", "doctor", "demo"), 4),
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module imported, whether at the top of the file) of a source file; `if TYPE_CHECKING` blocks are left out of the top."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, id(node) in top
            if node.module == "nosology":
                yield from ((f"nosology.{alias.name}", id(node) in top) for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    own = LEVEL[room(path)]
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] == "nosology" and len(parts) > 1:
            assert LEVEL[parts[1]] <= own, f"{path.name} imports {module}, which stands above it"


def test_ray_stays_at_the_edge() -> None:
    for path in MODULES:
        if room(path) != "distributed":
            assert not [m for m, _ in imports(path) if m.split(".")[0] == "ray"], path


def test_rooms_that_take_clean_records_name_no_raw_one() -> None:
    for name in ("curation", "training", "tasks", "evaluation"):
        for path in (PACKAGE / name).rglob("*.py"):
            raw = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name) and re.match(r"Raw[A-Z]", n.id)}
            assert not raw, f"{path}: {raw}"


def test_platform_is_a_source_root_and_no_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    children = {p.name for p in (ROOT / "platform").iterdir() if not p.name.endswith(".egg-info") and p.name != "__pycache__"}
    assert children == {"nosology"}
    assert not (ROOT / "tests" / "platform").exists()


def test_no_module_is_named_like_another() -> None:
    taken = set(sys.stdlib_module_names) | {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    runnable = [*(ROOT / "jobs").glob("*.py"), *(ROOT / "platform").glob("*.py"), *ROOT.glob("*.py"), *(ROOT / "examples").glob("*.py")]
    clashes = [p.name for p in runnable if p.stem in taken]
    assert not clashes
    # inside the package absolute imports keep names apart; the names of the standard library stay free all the same
    clashes = [str(p) for p in MODULES if p.stem in set(sys.stdlib_module_names) - {"__init__"}]
    assert not clashes


def test_no_vague_module_names() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}
    assert not [p for p in MODULES if vague & set(p.stem.split("_"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_outgrows_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def test_verbs_are_the_commands_and_each_has_a_function() -> None:
    from nosology import cli, verbs

    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    groups = {f"{group.name}_{command.name}" for group in cli.app.registered_groups for command in group.typer_instance.registered_commands}
    assert set(verbs.__all__) == commands - {"config"} | groups
    modules = {path.stem for path in (PACKAGE / "verbs").glob("*.py")}
    assert not modules & set(verbs.__all__), "a module would hide the verb of its name"


def test_help_is_light() -> None:
    code = "import sys, runpy; sys.argv = ['nosology', '--help']\ntry: runpy.run_module('nosology.cli', run_name='__main__')\nexcept SystemExit: pass\nprint(sorted({m.split('.')[0] for m in sys.modules}))"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout.strip().splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & {"torch", "ray", "presidio_analyzer", "transformers", "pyarrow", "numpy", "pandas", "spacy", "deepspeed"}


def yamls(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.y*ml"))


@pytest.mark.parametrize("path", yamls("jobs"), ids=lambda p: p.name)
def test_job_configs_parse(path: Path) -> None:
    load([path])


@pytest.mark.parametrize("path", yamls("cluster"), ids=lambda p: p.name)
def test_cluster_files_parse(path: Path) -> None:
    ClusterConfig.model_validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", yamls("serve"), ids=lambda p: p.name)
def test_serve_files_parse(path: Path) -> None:
    from nosology.config import Config
    from ray.serve.schema import ServeDeploySchema

    tree = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    for application in tree.applications:
        if "config" in application.args:
            Config.model_validate(application.args["config"])


def test_every_folder_of_yaml_has_some() -> None:
    assert yamls("jobs") and yamls("cluster") and yamls("serve")
