"""How a run of ONNX Runtime that nobody waits for is ended."""

from onnxruntime import RunOptions


class OnnxStop:
    """Ends the runs that were given `options`, between two nodes of their graph; they raise. A `Stop` of `Worker`."""

    def __init__(self) -> None:
        self.options = RunOptions()

    def set(self) -> None:
        """End what runs, and what is still to run."""
        self.options.terminate = True
