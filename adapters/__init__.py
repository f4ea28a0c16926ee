"""Translates, and nothing more: platform event to Message, Post to platform call."""
