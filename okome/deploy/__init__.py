"""What the playbooks ask for on the machine from which a cluster is deployed."""
