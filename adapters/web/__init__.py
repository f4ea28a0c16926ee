"""The browser's side of Heed: the HTTP API and the try-it room."""

from __future__ import annotations

from adapters.web.server import WebAdapter

__all__ = ["WebAdapter"]
