"""Names of metrics and, later, rules, dashboards and runbooks."""
