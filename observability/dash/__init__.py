"""The built-in dashboard page: the SLO overview, asked of Prometheus on the server's side.

`python -m observability.dash` serves it; a browser sees figures, and never Prometheus.
"""
