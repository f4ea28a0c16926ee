"""The database's history: from nothing to the tables of core.tables, and back."""
