"""The run agreement: its document, its terms, who signed it, and what it says in words."""
