"""The hot cache: what was computed a moment ago. Never truth, never for long; its loss costs
speed only."""
