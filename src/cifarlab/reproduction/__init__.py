"""The five reports' numbers beside ours: which runs they take, in what order, and the page that compares."""
