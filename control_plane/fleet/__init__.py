"""The engines as they are: health, load, faults, what each of their models can."""
