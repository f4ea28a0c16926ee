"""Versioned prompt files, and the code that loads, renders and checks them.

A task is a file: its text, its labels and where it stands. Changing the file changes the task.
"""

from __future__ import annotations

from core.prompts.book import PromptBook
from core.prompts.files import LEVELS, Example, ReplyPrompt, Sampling, Task
from core.prompts.safe import safe

__all__ = ["LEVELS", "Example", "PromptBook", "ReplyPrompt", "Sampling", "Task", "safe"]
