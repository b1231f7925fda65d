"""The application as `serve run` and `serve deploy` name it: `serve.app:build` (with the repository's root on the import path)."""

from nosology.distributed.serving import build

__all__ = ["build"]
