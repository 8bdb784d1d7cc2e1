"""HTTP in and out: each module reads requests, asks the pure part and the store, answers."""
