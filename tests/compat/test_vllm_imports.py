"""Where vLLM keeps things is known in one place, and a miss says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import midm_vllm
from midm_vllm.compat import vllm_imports

MODULES = sorted(Path(midm_vllm.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("name", vllm_imports.PLACES)
def test_every_name_is_found_in_the_installed_release(name: str) -> None:
    assert getattr(vllm_imports, name).__name__ == name


@pytest.mark.parametrize(("table", "releases"), [
    (vllm_imports.PLACES, "vLLM 0.8.5 to 0.33.0"),
    (vllm_imports.MODEL_PLACES, "vLLM 0.26.0 to 0.32.0"),
])
def test_a_name_that_moved_is_named_with_the_releases_that_are_known(
    monkeypatch: pytest.MonkeyPatch, table: dict[str, tuple[str, ...]], releases: str
) -> None:
    places = ("vllm.moved_away", "vllm.outputs")
    monkeypatch.setitem(table, "Moved", places)
    with pytest.raises(ImportError) as caught:
        vllm_imports.Moved
    for part in ("'Moved'", *places, vllm_imports.vllm_version(), releases, "issue tracker"):
        assert part in str(caught.value)


def test_a_package_that_vllm_lacks_is_reported_as_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text("import vllm.no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(vllm_imports.PLACES, "Broken", ("needs_more",))
    with pytest.raises(ModuleNotFoundError, match=r"vllm\.no_such_module"):
        vllm_imports.Broken


def test_no_other_module_falls_back_when_an_import_fails() -> None:
    for module in MODULES:
        if module.name != "vllm_imports.py":
            assert not re.search(r"except \(?(ImportError|ModuleNotFound)", module.read_text())
