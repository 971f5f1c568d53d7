"""The code of a space: what belongs to it, and that spaces do not get each other's modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.components import Described
from study.config import UserError
from study.disk.code import carry, changed_files, own_components
from study.source import code_hash, gather, run
from study.space import load_space
from tests.helpers import made_summary

SPACE = """
import study
from parts.net import Net

def suggest(trial, data):
    from late import SIZE
    return {"latent_dim": trial.suggest_int("latent_dim", 2, SIZE)}

SPACE = study.SearchSpace(question="?", suggest=suggest, components=(Net,))
"""
NET = """
from dataclasses import dataclass
from typing import ClassVar
import study

@dataclass(frozen=True)
class Net(study.Network):
    name: ClassVar[str] = "net"
    depth: int = %d

    def build(self, size):
        raise NotImplementedError
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", 2)


def write(folder: Path, depth: int) -> Path:
    (folder / "parts").mkdir(parents=True)
    (folder / "my_space.py").write_text(SPACE)
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "net.py").write_text(NET % depth)
    (folder / "late.py").write_text("SIZE = 4\n")
    (folder / "unrelated.py").write_text("raise RuntimeError('not imported')\n")
    return folder


def test_a_space_has_the_modules_beside_it_that_it_imports(folder: Path) -> None:
    source = gather(folder / "my_space.py")
    assert list(source.files) == ["my_space.py", "late.py", "parts/__init__.py", "parts/net.py"]
    assert set(source.modules) == {"late", "parts", "parts.net"}


def test_the_hash_follows_the_code_of_every_module_and_no_comment(folder: Path) -> None:
    before = gather(folder / "my_space.py").hash
    (folder / "late.py").write_text("# a comment\nSIZE = 4\n")
    assert gather(folder / "my_space.py").hash == before
    (folder / "late.py").write_text("SIZE = 5\n")
    assert gather(folder / "my_space.py").hash != before


def test_spaces_do_not_get_each_others_modules(folder: Path, tmp_path: Path) -> None:
    path = list(sys.path)
    other = write(tmp_path / "other", 9)
    (other / "late.py").write_text("SIZE = 99\n")
    modules = dict(sys.modules)
    spaces = [load_space(str(place / "my_space.py")).space for place in (folder, other, folder)]
    assert [space.own.items[0]().depth for space in spaces] == [2, 9, 2]
    # Also what a function imports when it is called, after the other space was loaded.
    trial: Any = optuna.trial.FixedTrial({"latent_dim": 3})
    for space, size in zip(spaces, (4, 99, 4), strict=True):
        space.suggest(trial, made_summary())
        assert trial.distributions["latent_dim"].high == size
    assert sys.path == path
    assert all(sys.modules.get(name) is module for name, module in modules.items())
    assert not {"late", "parts", "parts.net", "my_space"} & (sys.modules.keys() - modules.keys())


def test_an_error_names_the_module_and_its_line(folder: Path) -> None:
    (folder / "parts" / "net.py").write_text("SIZE = 4\nSIZE / 0\n")
    with pytest.raises(UserError, match=r"net\.py, line 2: .*ZeroDivisionError"):
        run(gather(folder / "my_space.py"))
    (folder / "late.py").write_text("SIZE =\n")
    with pytest.raises(UserError, match=r"late\.py, line 1: .*SyntaxError"):
        gather(folder / "my_space.py")


def test_a_study_carries_its_code(folder: Path, tmp_path: Path) -> None:
    from tests.session.test_resuming import record

    loaded = load_space(str(folder / "my_space.py"))
    carry(loaded, tmp_path / "study")
    study = record({}, space="my_space", space_path=str(folder / "my_space.py"), space_hash=loaded.hash)
    study = study.replace(components=tuple(map(Described.of, loaded.space.components)))
    (folder / "parts" / "net.py").unlink()  # the original is gone
    [net] = own_components(study, tmp_path / "study").items
    assert net.name == "net"
    # What has changed is not run.
    (tmp_path / "study" / "code" / "parts" / "net.py").write_text("raise RuntimeError('it ran')\n")
    with pytest.raises(UserError, match="has changed since the study began"):
        own_components(study, tmp_path / "study")
    (tmp_path / "study" / "code" / "my_space.py").unlink()
    with pytest.raises(UserError, match="No such file or directory: restore the study's code"):
        own_components(study, tmp_path / "study")


def test_the_code_that_was_read_is_carried_if_the_file_was_saved_meanwhile(folder: Path, tmp_path: Path) -> None:
    loaded = load_space(str(folder / "my_space.py"))
    (folder / "late.py").write_text("SIZE = 5\n")
    carry(loaded, tmp_path / "study")
    assert (tmp_path / "study" / "code" / "late.py").read_text() == "SIZE = 4\n"


def test_what_has_changed_is_named(folder: Path, tmp_path: Path) -> None:
    loaded = load_space(str(folder / "my_space.py"))
    assert changed_files(loaded, tmp_path / "study") == []  # a study of an earlier version carries none
    carry(loaded, tmp_path / "study")
    (folder / "late.py").write_text("SIZE = 5\n")
    assert changed_files(load_space(str(folder / "my_space.py")), tmp_path / "study") == [str(folder / "late.py")]


def test_a_builtin_space_is_not_copied(tmp_path: Path) -> None:
    carry(load_space("wae_weight"), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_packages_with_relative_imports_are_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 2)
    (folder / "parts" / "__init__.py").write_text("from .net import Net\nfrom . import deep\n")
    (folder / "parts" / "deep.py").write_text("import late\nimport parts.net\n\nNET = parts.net.Net\n")
    (folder / "my_space.py").write_text(SPACE.replace("from parts.net import Net", "from parts import Net, deep"))
    source = gather(folder / "my_space.py")
    assert list(source.files) == ["my_space.py", "late.py", "parts/__init__.py", "parts/deep.py", "parts/net.py"]
    module = run(source)
    assert module.deep.NET is module.Net and module.deep.late.SIZE == 4


def test_what_only_a_type_checker_or_a_script_imports_does_not_belong_to_a_space(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 2)
    guarded = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import unrelated\n"
    (folder / "my_space.py").write_text(f"{guarded}{SPACE}\nif __name__ == '__main__':\n    import unrelated\n")
    source = gather(folder / "my_space.py")
    assert "unrelated.py" not in source.files
    run(source)


def test_a_study_of_an_earlier_version_recorded_the_hash_of_the_file_alone(folder: Path) -> None:
    source = gather(folder / "my_space.py")
    assert source.is_same(code_hash((folder / "my_space.py").read_bytes()))
    assert not source.is_same(code_hash(b"SIZE = 4"))
