"""A self-hosted real-time voice assistant: speech in, speech out, over one WebSocket."""

import os

# What is said here is nobody else's business: libraries that report home are told not to, before they are imported.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
