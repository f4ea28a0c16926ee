"""The contract of every adapter: the same dialogues, wherever people are."""
