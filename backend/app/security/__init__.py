"""Passwords, tokens, and the limit on guesses."""
