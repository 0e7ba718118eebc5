"""The wheel has what the service needs, and declares what it imports."""

import email
import importlib.metadata
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from datafor_token import __version__
from tests.package.wheels import wheel
from tests.support import ROOT
from tests.test_imports import MODULES, imports_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {
    "": PROJECT["dependencies"],
    **PROJECT["optional-dependencies"],
}
# Used without an import: an extension of jinja2, and the folder of flask-swagger-ui, are named in text.
NAMED_ONLY = {"jinja2", "flask-swagger-ui"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Return requirements by their names."""
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def pinned(file: str) -> tuple[dict[str, Requirement], dict[str, Requirement]]:
    """Return the packages of a requirements file: those that the service uses, and those that these need."""
    used, needed = (ROOT / file).read_text().split("# What those need.\n")
    lines = re.compile(r"^([\w.\[\]-]+==\S+)", re.MULTILINE)
    return requirements(lines.findall(used)), requirements(lines.findall(needed))


def contents() -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel())


def files(folder: str) -> set[str]:
    """Return the files of a folder of the repository, without compiled ones."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {str(path.relative_to(ROOT)) for path in found}


def metadata() -> email.message.Message:
    with contents() as package:
        (name,) = (name for name in package.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(package.read(name))


def test_the_files() -> None:
    """The wheel has the files of the package, the pages of ``docs/``, and nothing else."""
    with contents() as package:
        names = set(package.namelist())
    information = {name for name in names if name.startswith(f"datafor_token-{__version__}.dist-info/")}
    expected = files("datafor_token") | {f"datafor_token/{name}" for name in files("docs")}
    assert {name for name in names if name.startswith("datafor_token/")} == expected
    assert names == expected | information
    assert {Path(name).name for name in information} == {"METADATA", "RECORD", "WHEEL", "entry_points.txt"}


def test_the_metadata() -> None:
    """The wheel has the version of the code, and no licence, which nobody has chosen."""
    assert metadata()["Version"] == __version__
    assert wheel().name == f"datafor_token-{__version__}-py3-none-any.whl"
    assert not {"license", "license-files"} & PROJECT.keys()
    assert {name for name in metadata() if name.startswith("License")} == set()
    assert list(ROOT.glob("LICEN[CS]E*")) == []


def test_the_supported_versions_of_python() -> None:
    """The classifiers name the versions that ``make test-pythons`` tries, and the oldest is required."""
    tried = re.findall(r"3\.\d+", (ROOT / ".ci" / "pythons").read_text().split("for version in ")[1].splitlines()[0])
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith("Programming Language")]
    assert (named, PROJECT["requires-python"]) == (tried, f">={tried[0]}")


def test_the_declared_dependencies() -> None:
    """The package requires what the requirements files name first, in ranges that the pinned versions satisfy."""
    used, _ = pinned("requirements.txt")
    used_by_extras, _ = pinned("requirements-sql.txt")
    extras = requirements([*DECLARED["sql"], *DECLARED["redis"]])
    assert requirements(DECLARED[""]).keys() == used.keys()
    assert extras.keys() == used_by_extras.keys()
    for name, pin in {**used, **used_by_extras}.items():
        declared = {**requirements(DECLARED[""]), **extras}[name]
        (version,) = pin.specifier
        assert declared.specifier.contains(version.version), name
        assert declared.extras == pin.extras, name


@pytest.mark.parametrize(
    ("file", "others"), [("requirements.txt", ()), ("requirements-sql.txt", ("requirements.txt",))]
)
def test_the_pinned_dependencies(file: str, others: tuple[str, ...]) -> None:
    """A requirements file pins all that its packages need, in versions that they accept, and nothing else."""
    used, needed = pinned(file)
    pins = {name: pin for one in (file, *others) for part in pinned(one) for name, pin in part.items()}
    found: set[str] = set()
    waiting = list(used.values())
    for one in waiting:
        for line in importlib.metadata.requires(one.name) or []:
            other = Requirement(line)
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in one.extras or {""}):
                name = canonicalize_name(other.name)
                (version,) = pins[name].specifier
                assert other.specifier.contains(version.version), f"{one.name} needs {other}"
                if name not in found:
                    found.add(name)
                    waiting.append(other)
    assert needed.keys() <= found | used.keys()


def test_every_import_is_declared() -> None:
    """Every library that the package imports is declared, and every declared library is used."""
    imported = {name.split(".")[0] for module in MODULES for name in imports_of(module)}
    distributions = importlib.metadata.packages_distributions()
    libraries = imported - sys.stdlib_module_names - {"datafor_token"}
    used = {canonicalize_name(distributions[library][0]) for library in libraries}
    assert used | NAMED_ONLY == {name for lines in DECLARED.values() for name in requirements(lines)}
