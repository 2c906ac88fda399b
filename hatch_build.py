"""Generate the package `jukinet._pb` from the contract in protos/ at every build, editable or not.

protoc names Python packages after proto paths, so its output would own the top-level packages `jukinet` (ours) and
`buf` (another's). Everything is therefore moved below `jukinet._pb` and its imports are rewritten to say so.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOTS = ("protos", "third_party/protovalidate")
TARGET = "jukinet/_pb"
_PACKAGE = TARGET.replace("/", ".")
_IMPORT = re.compile(r"^from (?=(?:jukinet|buf)\.)", re.MULTILINE)


class StubBuildHook(BuildHookInterface[Any]):
    """Run protoc before the files of the package are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the stubs and put them into the wheel although git ignores them."""
        generate(Path(self.root))
        build_data["artifacts"].append(f"/{TARGET}/**")


def generate(root: Path) -> None:
    """Write messages, services and their types for every proto below `root` into `jukinet/_pb`.

    Args:
        root: The directory of pyproject.toml.

    Raises:
        RuntimeError: protoc refused the contract; its own words are on standard error.
    """
    from grpc_tools import protoc

    protos = {path.relative_to(root / base).as_posix() for base in ROOTS for path in (root / base).rglob("*.proto")}
    fresh = root / f"{TARGET}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    well_known = Path(protoc.__file__).parent / "_proto"
    includes = [f"-I{root / base}" for base in ROOTS] + [f"-I{well_known}"]
    # An isolated build has its commands on PATH; a virtual environment that is not activated has them beside Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    plugins = [
        f"--plugin={name}={shutil.which(name, path=path)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    outputs = [f"--{kind}_out={fresh}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    outputs += ["--mypy_opt=quiet", "--mypy_grpc_opt=quiet"]
    if protoc.main(["protoc", *includes, *plugins, *outputs, *sorted(protos)]) != 0:
        raise RuntimeError("protoc failed: mend the .proto files that it names above")
    for module in [*fresh.rglob("*.py"), *fresh.rglob("*.pyi")]:
        module.write_text(_IMPORT.sub(f"from {_PACKAGE}.", module.read_text("utf-8")), "utf-8")
    for folder in [fresh, *(entry for entry in fresh.rglob("*") if entry.is_dir())]:
        (folder / "__init__.py").touch()
    (fresh / "py.typed").touch()
    stale = root / f"{TARGET}.old"
    if (root / TARGET).exists():
        (root / TARGET).rename(stale)
    fresh.rename(root / TARGET)
    shutil.rmtree(stale, ignore_errors=True)


if __name__ == "__main__":
    generate(Path(__file__).resolve().parent)
