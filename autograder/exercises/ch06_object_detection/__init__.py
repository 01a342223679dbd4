"""Exercises of chapter 6: object detection."""
