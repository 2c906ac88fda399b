"""`python -m jukinet.cli`: the same as `jukinet`."""

from jukinet.cli.app import main

if __name__ == "__main__":
    main()
