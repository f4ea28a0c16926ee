"""Thinks; knows no platform, no environment variable and no wall clock."""
