"""Servers on loopback that stand in for the platforms; tests drive them by real clients only."""

from __future__ import annotations
