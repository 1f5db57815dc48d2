"""What the documentation says about settings, errors and the timeline is what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from voice_agent.config import Section, Settings
from voice_agent.dialogue.timeline import STEPS

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = DOCS.parent / "voice_agent"


def settings_table() -> Iterator[str]:
    """A row for each setting, as docs/deploy.md has them."""
    yield "| setting | default | |"
    yield "|---|---|---|"
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=False)
            shown = (
                ""
                if default is None or field.default_factory or isinstance(default, SecretStr)
                else f"`{default}`"
            )
            about = " ".join((field.description or "").split())
            yield f"| `{section}.{name}` | {shown} | {about} |"


def test_deploy_lists_every_setting_as_it_is() -> None:
    text = (DOCS / "deploy.md").read_text()
    missing = [row for row in settings_table() if row not in text]
    assert not missing, "docs/deploy.md wants these rows:\n" + "\n".join(settings_table())
    named = set(re.findall(r"^\| `(\w+\.\w+)` \|", text, re.MULTILINE))
    assert named == {row.split("`")[1] for row in settings_table() if "`" in row}


def test_the_protocol_lists_every_step_and_every_error() -> None:
    text = (DOCS / "protocol.md").read_text()
    assert all(f"`{step}`" in text for step in STEPS)
    codes: set[str] = set()
    for path in (SOURCE / "agent.py", *sorted((SOURCE / "transports").rglob("*.py"))):
        found = re.findall(
            r'(?:BadMessage|Refused)\(\s*"(\w+)"|Closed\(\s*[\w.]+,\s*"(\w+)"', path.read_text()
        )
        codes |= {one or other for one, other in found}
    assert len(codes) >= 10
    assert not {code for code in codes if f"`{code}`" not in text}


def test_deploy_lists_every_metric_as_it_is_scraped() -> None:
    text = (DOCS / "deploy.md").read_text()
    metrics: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for kind, name in re.findall(r'(Counter|Gauge|Histogram)\(\s*"(\w+)"', path.read_text()):
            metrics.add(f"{name}_total" if kind == "Counter" else name)
    assert len(metrics) >= 9
    assert not {name for name in metrics if not re.search(rf"`{name}[`{{]", text)}


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_links_between_the_documents_lead_somewhere(name: str) -> None:
    path = DOCS.parent / name
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
