"""Telegram: updates in by our own durable loop or a webhook, posts out by the library's Bot."""

from __future__ import annotations

from adapters.telegram.adapter import TelegramAdapter

__all__ = ["TelegramAdapter"]
