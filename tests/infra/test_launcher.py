"""The script at the root of a checkout, tried on a small project with no dependencies."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).parents[2] / "gradelog"

pytestmark = pytest.mark.timeout(300)

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "gradelog"
version = "0"

[project.optional-dependencies]
embedded = []
dev = []
"""

BACKEND = '''
"""Builds an editable wheel without anything from anywhere."""
import os, zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "gradelog-0-py3-none-any.whl"
    info = "gradelog-0.dist-info"
    files = {
        "gradelog.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: gradelog\\nVersion: 0\\n"
        "Provides-Extra: embedded\\nProvides-Extra: dev\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\n"
        "Tag: py3-none-any\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name

def build_wheel(*arguments, **settings):
    raise NotImplementedError
'''

SHOW = """
import json, os, sys
kept = not sys.dont_write_bytecode
shown = {"arguments": sys.argv[1:], "cwd": os.getcwd(), "prefix": sys.prefix, "kept": kept}
print(json.dumps(shown))
sys.exit(3 if "fail" in sys.argv else 0)
"""


@dataclass(frozen=True)
class Ran:
    """What one call of the launcher came to."""

    code: int
    out: str
    err: str

    @property
    def shown(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        shown = json.loads(self.out)
        assert isinstance(shown, dict)
        return shown

    @property
    def installed(self) -> bool:
        return "installing into" in self.err


def command(launcher: Path | str, *arguments: str) -> list[str]:
    return [str(launcher), *arguments]


def run(launcher: Path | str, *arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    done = subprocess.run(
        command(launcher, *arguments),
        cwd=cwd,
        env={**os.environ, "PIP_NO_INDEX": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def make_project(place: Path) -> Path:
    (place / "infra" / "cli").mkdir(parents=True)
    (place / "pytest").mkdir()
    shutil.copy2(LAUNCHER, place / "gradelog")
    (place / "pyproject.toml").write_text(PYPROJECT)
    (place / "backend.py").write_text(BACKEND)
    (place / "infra" / "cli" / "main.py").write_text(SHOW)
    (place / "pytest" / "__main__.py").write_text(SHOW)
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("launcher") / "a project")


@pytest.fixture
def project(made: Path) -> Path:
    """A project that is installed, whatever the test before did to it."""
    (made / "pyproject.toml").write_text(PYPROJECT)
    assert run(made / "gradelog").code == 0
    return made


@pytest.mark.slow
def test_the_first_run_installs_and_the_second_starts_at_once(tmp_path: Path) -> None:
    launcher = make_project(tmp_path / "fresh") / "gradelog"
    first = run(launcher, "stats", "--json")
    assert first.shown["arguments"] == ["stats", "--json"]
    assert first.installed
    second = run(launcher, "stats", "--json")
    assert second.out == first.out
    assert second.err == ""


def test_a_command_runs_in_the_callers_directory(project: Path, tmp_path: Path) -> None:
    ran = run(project / "gradelog", "import", "oulad", "data", cwd=tmp_path)
    assert ran.shown["cwd"] == str(tmp_path)
    assert ran.shown["prefix"] == str(project / ".venv")


def test_the_launcher_may_be_called_through_links(project: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(project / "gradelog")
    (tmp_path / "bin" / "gradelog").symlink_to("../absolute")
    assert run("bin/gradelog", cwd=tmp_path).shown["prefix"] == str(project / ".venv")


def test_arguments_arrive_as_they_were_given(project: Path) -> None:
    arguments = ["bench", "two words", "", "*", "--quick", "-n"]
    assert run(project / "gradelog", *arguments).shown["arguments"] == arguments


def test_the_exit_code_is_the_commands(project: Path) -> None:
    assert run(project / "gradelog", "fail").code == 3


def test_settings_of_other_pythons_are_not_followed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__init__.py").write_text("raise SystemExit('another infra')")
    (tmp_path / "json.py").write_text("raise SystemExit('another json')")
    ran = run(
        project / "gradelog",
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path),
        PYTHONHOME=str(tmp_path),
        VIRTUAL_ENV=str(tmp_path),
    )
    assert ran.shown["prefix"] == str(project / ".venv")


def test_all_tests_run_unless_some_are_named(project: Path, tmp_path: Path) -> None:
    everything = run(project / "gradelog", "test", cwd=tmp_path)
    spread = ["--dist", "loadfile", "--no-loadscope-reorder"]
    assert everything.shown["arguments"] == [*spread, "-n", "3"]
    assert everything.shown["cwd"] == str(project)
    quick = run(project / "gradelog", "test", "--quick")
    assert quick.shown["arguments"][-2:] == ["-m", "not slow and not fault"]
    named = run(project / "gradelog", "test", "tests/domain", "-k", "a score")
    assert named.shown["arguments"] == ["tests/domain", "-k", "a score"]


def test_what_tests_start_is_compiled_once_and_kept(project: Path) -> None:
    assert run(project / "gradelog", "test", PYTHONDONTWRITEBYTECODE="1").shown["kept"]
    assert not run(project / "gradelog", PYTHONDONTWRITEBYTECODE="1").shown["kept"]


def test_changed_dependencies_are_installed_once(project: Path) -> None:
    (project / "pyproject.toml").write_text(PYPROJECT + "\n# changed\n")
    assert run(project / "gradelog").installed
    assert not run(project / "gradelog").installed


def test_what_developing_needs_is_enough_for_running(project: Path) -> None:
    (project / "pyproject.toml").write_text(PYPROJECT + "\n# for developing\n")
    assert run(project / "gradelog", "setup").installed
    assert not run(project / "gradelog").installed


@pytest.mark.slow
def test_an_installation_that_fails_is_told_and_tried_again(project: Path) -> None:
    broken = PYPROJECT.replace("requires = []", 'requires = ["no-such-package-of-gradelog"]')
    (project / "pyproject.toml").write_text(broken)
    failed = run(project / "gradelog")
    assert failed.code == 1
    assert failed.out == ""
    assert "no-such-package-of-gradelog" in failed.err
    assert "the installation failed" in failed.err
    (project / "pyproject.toml").write_text(PYPROJECT)
    assert run(project / "gradelog").code == 0


@pytest.mark.slow
def test_an_interrupted_installation_is_made_again(project: Path) -> None:
    (project / ".venv" / "gradelog-installing").touch()
    healed = run(project / "gradelog")
    assert healed.code == 0
    assert "is made again" in healed.err


@pytest.mark.slow
def test_an_environment_whose_python_is_gone_is_made_again(project: Path) -> None:
    (project / ".venv" / "bin" / "python").unlink()
    (project / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    healed = run(project / "gradelog")
    assert healed.code == 0
    assert "is made again" in healed.err


@pytest.mark.slow
def test_a_project_that_moved_is_installed_where_it_is(tmp_path: Path) -> None:
    before = make_project(tmp_path / "before")
    assert run(before / "gradelog").installed
    after = before.rename(tmp_path / "after")
    assert run(after / "gradelog").shown["prefix"] == str(after / ".venv")


@pytest.mark.slow
def test_first_runs_at_the_same_time_install_once(tmp_path: Path) -> None:
    launcher = make_project(tmp_path / "together") / "gradelog"
    together = [
        subprocess.Popen(
            command(launcher),
            env={**os.environ, "PIP_NO_INDEX": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ends = [each.communicate() for each in together]
    assert [each.returncode for each in together] == [0, 0, 0], ends
    assert sum("installing into" in err for _, err in ends) == 1


# --- machines without a fitting Python ------------------------------------------------------


def tools(place: Path, python3: str = "") -> str:
    """A PATH with the tools every system has and at most one Python."""
    place.mkdir()
    for tool in ("sh", "dirname", "readlink", "cat", "cksum", "mkdir", "rm"):
        found = shutil.which(tool)
        assert found is not None
        (place / tool).symlink_to(found)
    if python3:
        (place / "python3").write_text(f"#!/bin/sh\n{python3}\n")
        (place / "python3").chmod(0o755)
    return str(place)


@pytest.mark.parametrize(
    ("python3", "told"),
    [
        ("", "Python 3.11 or later is needed, and there is no Python here"),
        ("exit 1", "these are older or do not run: python3"),
        (
            f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"',
            "apt-get install python3-venv",
        ),
    ],
)
def test_without_a_fitting_python_the_message_says_what_is_missing(
    tmp_path: Path, python3: str, told: str
) -> None:
    launcher = make_project(tmp_path / "project") / "gradelog"
    refused = run(launcher, PATH=tools(tmp_path / "bin", python3))
    assert refused.code == 1
    assert told in refused.err
    assert refused.out == ""
    assert not (launcher.parent / ".venv").exists()
