"""Killed between any two steps and started again: nothing lost, nothing twice, in order."""
