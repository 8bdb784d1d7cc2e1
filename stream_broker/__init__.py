"""Carries, never decides: engines → relay → event log → viewers."""
