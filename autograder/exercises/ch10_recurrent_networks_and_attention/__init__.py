"""Exercises of chapter 10: recurrent networks and attention."""
