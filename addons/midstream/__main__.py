"""The command `midstream`, and `python -m midstream` where that is not on the PATH."""

from midstream.loading import quietly


def main() -> None:
    with quietly():
        from midstream.cli import main as command
    command(prog_name="midstream")


if __name__ == "__main__":
    main()
