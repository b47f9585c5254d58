"""Generates the Python stubs of every contract in protos/ into gen/, or checks that gen/ is what they say.

    python tools/generate_stubs.py            write gen/
    python tools/generate_stubs.py --check    exit 1 and name the files that differ

gen/ is a package root: the proto turnpike/budget/v1/budget.proto becomes `turnpike.budget.v1.budget_pb2` with
its typed stub and, because mypy-protobuf carries comments over, its documentation.
"""

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "gen"
PACKAGE = "turnpike"
SERVICE = re.compile(r"^service \w+", re.MULTILINE)


def protoc(sources: list[str], *outputs: str) -> None:
    """Runs the pinned protoc over `sources` (paths relative to protos/)."""
    well_known = resources.files("grpc_tools") / "_proto"
    plugins = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={well_known}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            *outputs,
            *sources,
        ],
        check=True,
    )


def generate(target: Path) -> None:
    """Writes the stubs of all protos below `target`; raises CalledProcessError when protoc refuses one."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    if not sources:
        raise SystemExit(f"no protos below {PROTOS}")
    protoc(sources, f"--python_out={target}", f"--mypy_out=quiet:{target}")
    with_services = [name for name in sources if SERVICE.search((PROTOS / name).read_text())]
    # Concrete servicers: an RPC that one does not define answers UNIMPLEMENTED, as grpc's own base says.
    typed = f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}"
    if with_services:
        protoc(with_services, f"--grpc_python_out={target}", typed)
    package = target / PACKAGE
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()


def stub_files(root: Path) -> dict[str, Path]:
    """The stub files below `root` by their relative path; Python's caches are none."""
    package = root / PACKAGE
    return {
        str(path.relative_to(root)): path
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(fresh: Path) -> list[str]:
    """One line for each file of gen/ that is missing, left over or other than in `fresh`."""
    wanted, present = stub_files(fresh), stub_files(GENERATED)
    return [
        *(f"missing: {name}" for name in wanted.keys() - present.keys()),
        *(f"left over: {name}" for name in present.keys() - wanted.keys()),
        *(
            f"differs: {name}"
            for name in wanted.keys() & present.keys()
            if not filecmp.cmp(wanted[name], present[name], shallow=False)
        ),
    ]


def install(fresh: Path) -> None:
    """Makes gen/ equal to `fresh`, touching only the files that differ (importers keep their caches)."""
    wanted, present = stub_files(fresh), stub_files(GENERATED)
    for name in present.keys() - wanted.keys():
        present[name].unlink()
    for name, source in wanted.items():
        destination = GENERATED / name
        if name not in present or not filecmp.cmp(source, destination, shallow=False):
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)


def main() -> int:
    """Runs as the module's docstring says; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when gen/ differs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        changed = sorted(differences(Path(folder)))
        if arguments.check:
            for line in changed:
                print(line)
            return 1 if changed else 0
        install(Path(folder))
    print(f"gen/: {len(changed)} files changed" if changed else "gen/ is what the protos say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
