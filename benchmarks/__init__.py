"""Speed, beside a plain loop and beside peers, in one run."""
