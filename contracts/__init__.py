"""The words both planes speak: frozen types, their JSON, the stable codes. No I/O, no clock."""
