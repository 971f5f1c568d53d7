"""`python -m study`: the same as the command `study`."""

from study.command import main

main()
