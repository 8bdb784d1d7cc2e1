"""`okome top`: how streams go, node by node, from what the brokers say themselves."""
