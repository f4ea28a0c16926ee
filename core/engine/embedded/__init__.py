"""What Heed does before any model is there: a small table that tags, and a phrase book."""
