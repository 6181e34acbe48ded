"""Telling people outside the page what needs them: by webhook and by e-mail."""
