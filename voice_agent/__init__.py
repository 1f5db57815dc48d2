"""A self-hosted real-time voice assistant: speech in, speech out, over one WebSocket."""

import os

# What is said here is nobody else's business: libraries that report home are told not to, before they are imported.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# CTranslate2's threads would spin where they wait for each other. Where other work wants the cores too, that is most of
# their time: a transcript that takes 0.5 s beside three busy processes took 1 to 20 s (GCC's libgomp, OMP_WAIT_POLICY).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
