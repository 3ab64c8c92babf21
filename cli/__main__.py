"""`python -m cli` is `fednode`."""

from cli.main import main

if __name__ == "__main__":
    main()
