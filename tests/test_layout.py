"""The arrangement that docs/architecture.md describes: imports run down only, and a file is one idea."""

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "voice_agent"

LAYERS = (
    ("service", "cli", "__main__", "talk", "doctor"),
    ("transports",),
    ("agent",),
    ("hosting", "rehearsal"),
    ("dialogue",),
    ("engines",),
    ("speculation", "load", "speeds"),
    ("stages",),
    ("models",),
    ("config",),
    ("audio",),
    ("errors", "parent", "urgency"),
)
"""From the top down; each may import those below it. `lab` and `client` stand beside them."""
PURE = ("turn_taking", "floor", "decisions", "end_of_turn", "backchannel")
"""Of the dialogue: no task, no clock, no engine."""

THEIR_OWN = {"kantoku", "pydantic-core", "transformers"}
"""Parts of bentoml, pydantic and coqui-tts, which name the version of them that they work with."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules of ours, without the package's name, and the others' first names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(module)):
                names.add(module)
            case ast.Import():
                names |= {alias.name for alias in node.names}
    return names


def layer(module: str) -> int | None:
    return next((n for n, names in enumerate(LAYERS) if module.split(".")[0] in names), None)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down_only(path: Path) -> None:
    mine = layer(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    if mine is None:
        return
    for name in imported(path):
        below = layer(name.removeprefix("voice_agent.")) if name.startswith("voice_agent.") else None
        assert below is None or below >= mine, f"{name} is above {path.name}"


@pytest.mark.parametrize("name", PURE)
def test_turn_taking_knows_no_clock_no_task_and_no_engine(name: str) -> None:
    found = imported(PACKAGE / "dialogue" / f"{name}.py")
    assert not found & {"asyncio", "time", "threading", "numpy"}
    ours = {module.removeprefix("voice_agent.") for module in found if module.startswith("voice_agent.")}
    allowed = {"audio", "config", "stages.english", *(f"dialogue.{pure}" for pure in PURE)}
    assert ours <= allowed


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    declared = {canonical(one) for one in asked} | THEIR_OWN
    installed = packages_distributions()
    for path in modules():
        for name in {module.split(".")[0] for module in imported(path)} & installed.keys() - {"voice_agent"}:
            assert declared & {canonical(one) for one in installed[name]}, f"{path.name} imports {name}"


def canonical(requirement: str) -> str:
    """The name in it, as PEP 503 spells it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_no_file_holds_too_much() -> None:
    assert not {path.name for path in modules() if len(path.read_text().splitlines()) > 400}
