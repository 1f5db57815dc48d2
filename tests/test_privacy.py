"""Nothing reports home."""

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_makes_no_device_id(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    code = "import voice_agent.stages.vad, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert not list(tmp_path.rglob("*onnxruntime*"))
