"""The report of a run: one HTML file that needs nothing else, and lets nothing out."""

from pathlib import Path

from voice_agent.errors import LabError
from voice_agent.lab.result import Result


def write_report(result: Result, path: Path, baseline: Result | None = None) -> None:
    """Write the report of a run; with a baseline, of what became of it since as well.

    `Turn.audio` of its turns is played by it, where it is there. Raises `LabError` where a package is missing.
    """
    try:
        from voice_agent.lab.report.page import page
    except ImportError as error:
        raise LabError(
            f"{error}. A report needs the lab's packages: pip install 'voice-agent[lab]'"
        ) from error
    html = page(result, baseline)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")
