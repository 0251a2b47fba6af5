"""python -m vlseg"""

from vlseg.cli import main

main()
