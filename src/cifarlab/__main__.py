"""``python -m cifarlab VERB ...``."""

from cifarlab.verbs.console import main

if __name__ == "__main__":
    raise SystemExit(main())
