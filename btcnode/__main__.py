"""``python -m btcnode``: the same as the ``btcnode`` command."""

from btcnode.cli.main import main

main()
