"""What the package holds, and who may import whom."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"cli", "common", "flow", "gen", "golden", "jobs", "rtl", "sim"}

# Arrows run one way; golden.network and what it needs is all that gen may see of golden.
ALLOWED = {
    "common": set(),
    "golden": {"common"},
    "jobs": {"common"},
    "rtl": set(),
    "gen": {"common", "golden", "rtl"},
    "sim": {"common", "golden", "rtl", "gen"},
    "flow": {"common", "golden", "jobs", "rtl", "gen", "sim"},
    "cli": {"common", "flow", "golden", "jobs", "rtl", "gen", "sim"},
}
FOREIGN_FORBIDDEN = {
    "common": {"torch", "numpy", "amaranth", "cocotb"},
    "rtl": {"torch", "numpy", "cocotb"},
    "golden": {"amaranth", "cocotb", "dask", "distributed"},
    "jobs": {"torch", "amaranth", "cocotb"},
    "gen": {"torch", "cocotb"},
}


def sources(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path):
    """Full names of the modules that a file imports, wherever it does."""
    package = ("spikeloom", *path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, [base, node.module]))
            found.add(name)
            found |= {f"{name}.{alias.name}" for alias in node.names}
    return found


def test_every_folder_is_a_package_by_its_link():
    links = {path.name for path in (ROOT / "spikeloom").iterdir() if path.is_symlink()}
    assert links == FOLDERS
    for folder in FOLDERS:
        assert (ROOT / "spikeloom" / folder).resolve() == ROOT / folder
        strays = {path.parent for path in sources(folder) if not (path.parent / "__init__.py").is_file()}
        assert not strays, f"folders with code but without __init__.py: {strays}"


def test_every_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text()
    names = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["test"]]
    explained = {name for name in names for line in text.splitlines() if f'"{name}", ' in line and "#" in line}
    assert explained == set(names)


def test_every_dependency_is_pinned_to_a_version_that_it_allows():
    """And what `make` installs besides; nothing twice."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert len({canonicalize_name(name) for name in pinned}) == len(lines)
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in map(Requirement, [*PROJECT["project"]["dependencies"], *(x for y in extras for x in y)]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
    assert {"torch", "spikingjelly"} <= versions.keys()


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_imports_run_one_way(folder):
    for path in sources(folder):
        for name in imports(path):
            parts = name.split(".")
            where = f"{path.relative_to(ROOT)} imports {name}"
            if parts[0] == "spikeloom" and len(parts) > 1 and parts[1] in FOLDERS:
                assert parts[1] == folder or parts[1] in ALLOWED[folder], where
            assert parts[0] not in FOREIGN_FORBIDDEN.get(folder, ()), where
            assert parts[0] not in FOLDERS, f"{where}: always through spikeloom"


def test_the_generator_needs_no_torch():
    modules = ["compiler", "estimate", "sizing", "verilog", "targets", "toolchain.build"]
    code = "import sys; " + "".join(f"import spikeloom.gen.{name}; " for name in modules)
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in the wheel, built from the files that git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (copy / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", folder, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as file:
        return set(file.namelist())


@pytest.mark.parametrize(
    "name",
    [
        "spikeloom/__init__.py",
        "spikeloom/py.typed",
        "spikeloom/sim/harness.cpp",
        "spikeloom/sim/virtual_board.cpp",
        "spikeloom/sim/models/dp16kd.v",
        "spikeloom/golden/zoo/digits.safetensors",
        "spikeloom/flow/templates/testbench.v",
        "spikeloom/flow/templates/README.md",
        "spikeloom/cli/main.py",
        "spikeloom/rtl/host/serial.py",
    ],
)
def test_wheel_holds(wheel, name):
    assert name in wheel


def test_wheel_holds_all_code_and_nothing_else(wheel):
    code = {f"spikeloom/{path.relative_to(ROOT)}" for folder in FOLDERS for path in sources(folder)}
    assert code <= wheel
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"spikeloom"}
    assert not [name for name in wheel if "tests" in name or "__pycache__" in name]
