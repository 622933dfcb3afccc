"""``python -m unstir``, which ``accelerate launch -m unstir`` needs."""

from unstir.cli import main

if __name__ == "__main__":
    main()
