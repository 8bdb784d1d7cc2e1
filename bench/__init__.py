"""What is measured and how, side by side with peers. `scripts/bench` is the way in."""
