"""The steps of the pipeline, one file each: a `Protocol`, and the engines that fulfil it."""
