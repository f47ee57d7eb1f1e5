"""`python -m midstream`: the command line, also where the `midstream` script is not on the PATH."""

from midstream.cli import main

if __name__ == "__main__":
    main(prog_name="midstream")
