"""Dashboards as data: what each panel asks, in which unit, and from when a figure is bad.

`python -m observability.boards` writes `observability/dashboards/*.json` for Grafana; the
built-in page (`observability/dash`) shows some of the same panels.
"""
